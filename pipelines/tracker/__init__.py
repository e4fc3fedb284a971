"""The Tracker: validates events, corrects their clocks and drops duplicates."""
