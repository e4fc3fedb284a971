"""Answers SDKs that ask for feature flags, from the definitions and the members of segments."""
