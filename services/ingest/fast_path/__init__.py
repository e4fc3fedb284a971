"""The fast path: kernels find, check and encode the usual events of a request all at once.

An event that needs thought leaves the fast path: `services.ingest.check` decides about it alone.
"""
