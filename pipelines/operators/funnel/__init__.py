"""Funnels on the stream."""
