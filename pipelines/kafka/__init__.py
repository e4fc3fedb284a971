"""Reads and produces records in bulk and in transactions; makes all calls of librdkafka."""
