"""Avro: schemas, schema resolution, and bulk encoding and decoding."""
