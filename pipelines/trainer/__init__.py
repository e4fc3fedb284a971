"""The trainer: a fold of `avila.examples` into the models of `avila.models`."""
