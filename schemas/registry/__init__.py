"""The schema registry: its subjects, its log, and clients of a registry."""
