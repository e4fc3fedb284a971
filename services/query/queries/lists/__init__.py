"""Queries that list what there is: events, persons, properties and their values."""
