"""Live metrics on the stream."""
