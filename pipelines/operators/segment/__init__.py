"""Segments (dynamic groups of persons) on the stream."""
