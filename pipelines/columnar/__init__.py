"""Columns of numbers and text, and the kernels that work on them; knows no Kafka and no domain."""
