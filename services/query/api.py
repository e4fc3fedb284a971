"""All routes under `/api`: those of the registered operators and queries, and of projects."""

from typing import Final

import msgspec

from schemas.alerts import Alert
from schemas.annotations import Annotation
from schemas.flags import Flag
from schemas.notices.subscription import Subscription
from services.query.alerts.routes import ALERT_ROUTES
from services.query.annotations.resource import ANNOTATION_ROUTES
from services.query.credentials.routes import CREDENTIAL_ROUTES
from services.query.dashboards.routes import DASHBOARD_ROUTES, LINK_ROUTES
from services.query.flags.routes import FLAG_ROUTES
from services.query.http.routes import AnyGroup, AnyRoute
from services.query.operators import OPERATORS
from services.query.operators.routes import routes_of
from services.query.projects.routes import (
    PLAN_CHECK_ROUTES,
    PLAN_ROUTES,
    REJECTED_ROUTES,
    SETTINGS_ROUTES,
    STATUS_ROUTES,
)
from services.query.queries.resource import QUERY_ROUTES
from services.query.sql.routes import SQL_ROUTES
from services.query.subscriptions.routes import SUBSCRIPTION_ROUTES

OPERATOR_GROUPS: Final[tuple[AnyGroup, ...]] = tuple(routes_of(one) for one in OPERATORS)
GROUPS: Final[tuple[AnyGroup, ...]] = (
    *OPERATOR_GROUPS,
    QUERY_ROUTES,
    SQL_ROUTES,
    SETTINGS_ROUTES,
    PLAN_ROUTES,
    REJECTED_ROUTES,
    STATUS_ROUTES,
    DASHBOARD_ROUTES,
    LINK_ROUTES,
    CREDENTIAL_ROUTES,
    PLAN_CHECK_ROUTES,
    ANNOTATION_ROUTES,
    SUBSCRIPTION_ROUTES,
    ALERT_ROUTES,
    FLAG_ROUTES,
)
ROUTES: Final[tuple[AnyRoute, ...]] = tuple(route for group in GROUPS for route in group.routes)
# The bodies of definitions that no worker counts, by kind.
DOCUMENTS: Final[dict[str, type[msgspec.Struct]]] = {
    "annotation": Annotation,
    "subscription": Subscription,
    "alert": Alert,
    "flag": Flag,
}
