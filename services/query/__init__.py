"""The query service: funnels and tracking plans defined, and figures read, over REST.

Every request under `/api` brings a query token, which `AuthMiddleware` looks at. Commands go to the
definitions topic, queries read views of topics (`TopicView` keeps them), and the same figures can
be counted anew in ClickHouse. `run_query` is the process.
"""

from services.query.app import make_query_app
from services.query.server import run_query

__all__ = ["make_query_app", "run_query"]
