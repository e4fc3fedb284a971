"""The stream's side."""
