"""Cohorts (retention grids) on the stream."""
