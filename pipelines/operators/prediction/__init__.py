"""Predictions on the stream: features of persons, questions, and the outcomes that answer them."""
