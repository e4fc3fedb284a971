"""The operators on the query side, each in a package of its own."""
