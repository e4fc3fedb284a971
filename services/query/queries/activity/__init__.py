"""Queries about how persons come back."""
