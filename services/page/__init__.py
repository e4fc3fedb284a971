"""The web page: its sources, how they are built, and how the query service serves them."""
