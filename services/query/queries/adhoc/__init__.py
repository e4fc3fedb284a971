"""Funnels, cohorts and segments that are asked once."""
