"""Which events concern which definitions, and what is read of their properties."""
