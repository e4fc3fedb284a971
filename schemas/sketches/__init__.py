"""Mergeable summaries: percentiles, durations, top values."""
