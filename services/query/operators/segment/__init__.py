"""Segments (dynamic groups of persons) over HTTP, from the stream and from ClickHouse."""
