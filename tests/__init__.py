"""Tests: real broker, real database, real crashes."""
