"""Delivery of the event store to sinks such as ClickHouse, exactly once."""
