"""The operators, each in a package of its own."""
