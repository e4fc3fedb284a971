"""Definitions as code: read them from files, show what they change, and change it.

`documents` reads files, `kinds` says which kinds there are and decodes them, `changes` compares
them to what the service has, and `run` writes what differs.
"""
