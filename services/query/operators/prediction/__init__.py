"""Predictions (how likely a person is to do something soon) over HTTP, from the stream."""
