"""Calendars, buckets and times as text."""
