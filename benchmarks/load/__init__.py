"""What puts load on an ingest service, and counts what it answers."""
