"""The processes: broker, store, worker, ingest, query, and the command line that runs them."""
