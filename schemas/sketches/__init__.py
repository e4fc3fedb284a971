"""Mergeable sketches: durations, percentiles, and most frequent values."""
