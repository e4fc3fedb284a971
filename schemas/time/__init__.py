"""Time: calendars of time zones, numbered buckets, and times as text."""
