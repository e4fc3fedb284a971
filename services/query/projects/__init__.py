"""A project's tracking plans and settings."""
