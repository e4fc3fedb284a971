"""The query service, on a real broker and a real store."""
