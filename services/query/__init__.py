"""The query service: define operators and tracking plans, and read results, over REST and gRPC.

Every request under `/api` carries a query token, which `AuthMiddleware` checks. Commands write to
the definitions topic. Queries read views of topics, which `TopicView` keeps up to date, or count
the same in ClickHouse. `run_query` is the process.
"""

from services.query.app import make_query_app
from services.query.server import run_query

__all__ = ["make_query_app", "run_query"]
