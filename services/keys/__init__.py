"""Write keys, query tokens and projects.

`Keys` is the view that each process keeps of them. `KeyAdmin` creates and revokes keys and tokens.
`authorize` checks query tokens; `services.ingest.access` checks write keys.
"""
