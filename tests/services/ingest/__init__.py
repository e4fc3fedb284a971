"""Tests of the ingest service, over HTTP and on a real broker."""
