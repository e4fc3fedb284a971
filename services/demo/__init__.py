"""`avila demo`: a shop whose visitors come while it is watched."""
