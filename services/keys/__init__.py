"""Write keys, query tokens and projects: the view of them, who may do what, and the desk for them.

`Keys` is the view that each process has; `authorize` decides on query tokens, and
`services.ingest.access` on write keys; `KeyAdmin` makes and revokes both.
"""
