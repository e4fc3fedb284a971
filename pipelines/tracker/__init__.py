"""The Tracker: events are checked, their clocks corrected and repeated ones dropped."""
