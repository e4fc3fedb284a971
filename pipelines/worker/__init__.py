"""A columnar Faust worker: its transport, epochs, tables, snapshots and telemetry."""
