"""Views of topics in memory: definitions, and the latest result of each key."""
