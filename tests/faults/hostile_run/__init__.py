"""A system that somebody hostile does all to, through every door."""
