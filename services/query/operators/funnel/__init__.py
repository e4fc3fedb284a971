"""Funnels over HTTP, from the stream and from ClickHouse."""
