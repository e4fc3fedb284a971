"""Columns of numbers and strings, and the kernels that work on them; knows no Kafka, no domain."""
