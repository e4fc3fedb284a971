"""Tests of write keys and query tokens."""
