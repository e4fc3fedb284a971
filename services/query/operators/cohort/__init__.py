"""Cohorts (retention grids) over HTTP, from the stream and from ClickHouse."""
