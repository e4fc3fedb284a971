"""The descriptions of the endpoints that only metrics have."""

from typing import Final

from schemas.operators.metric import KEPT, MAX_WINDOW
from services.query.http.describe import (
    AS_OF,
    CLOCK,
    SOURCE,
    TIME,
    json_response,
    number,
    operation,
    parameter,
)
from services.query.operators.metric.resource import DEFAULT_BUCKETS
from services.query.operators.metric.response import MetricResultsResponse

RESULTS: Final = operation(
    "readMetricResults",
    "A metric's results",
    {"200": json_response(MetricResultsResponse)},
    404,
    parameters=(
        SOURCE,
        AS_OF,
        CLOCK,
        parameter("from", TIME, "The earliest begin of a bucket to show."),
        parameter("to", TIME, "The latest begin of a bucket to show."),
        number(
            "window_s",
            "Show, for each bucket, the window of that many seconds that ends with it: a multiple "
            f"of the length of a bucket, up to {MAX_WINDOW} of them. Not accepted for `persons`.",
            1,
        ),
        number(
            "limit",
            "The most buckets to show; the newest are shown.",
            1,
            maximum=KEPT,
            default=DEFAULT_BUCKETS,
        ),
    ),
)
