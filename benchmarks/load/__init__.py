"""Load generators for an ingest service, which count its answers."""
