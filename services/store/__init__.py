"""The embedded store: ClickHouse's engine in a process of its own, behind its HTTP interface.

`run_store` is the process, `make_store_app` the application; DESIGN.md says what holds and why.
"""

from services.store.app import make_store_app
from services.store.server import run_store

__all__ = ["make_store_app", "run_store"]
