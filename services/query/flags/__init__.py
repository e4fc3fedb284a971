"""Feature flags: their definitions, and whether what they name is there."""
