"""Tests of the sinks, on a real broker and a real store."""
