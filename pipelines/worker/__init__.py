"""What makes a Faust worker columnar: its transport, epochs, tables, snapshots and telemetry."""
