"""Trends: figures of events over time."""
