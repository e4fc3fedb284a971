"""The schema registry: its log, its subjects, and the clients of it."""
