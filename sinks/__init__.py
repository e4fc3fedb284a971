"""Delivery of events and scores to sinks such as ClickHouse, exactly once."""
