"""Avro: schemas, the wire format in bulk, schema resolution."""
