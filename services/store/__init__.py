"""The embedded store: ClickHouse's engine in a process of its own, behind its HTTP interface.

`run_store` runs the process, `make_store_app` returns the application. DESIGN.md lists what it
guarantees, and why.
"""

from services.store.app import make_store_app
from services.store.server import run_store

__all__ = ["make_store_app", "run_store"]
