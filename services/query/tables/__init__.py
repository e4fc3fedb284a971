"""Answers as tables: their columns, the formats they are written in, and how they are streamed.

A table that may be long is never held as a whole: ClickHouse streams it, and each part is encoded
and sent before the next one is read.
"""
