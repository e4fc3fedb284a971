"""The event store's log as the query service sees it: its offsets, and how far it has been read."""
