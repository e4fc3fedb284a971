"""Evaluates alerts at fixed steps, and writes each change of an incident exactly once."""
