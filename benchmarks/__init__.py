"""Benchmarks: `python -m benchmarks.<name>` prints a table, then a JSON object as its last line."""
