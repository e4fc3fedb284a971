"""Whether the stream and ClickHouse count the same, and which events and persons differ."""
