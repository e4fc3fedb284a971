"""The records of `avila.examples`: the questions and outcomes that models learn from."""
