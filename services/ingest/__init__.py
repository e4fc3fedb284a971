"""The ingest service: events arrive in many formats and reach the inbox through one pipeline.

    format.parse ─▶ pipeline: authorize, check, plan, encode, produce ─▶ inbox ─▶ format.answer

A format only reads requests and writes answers. The pipeline decides about events.
"""
