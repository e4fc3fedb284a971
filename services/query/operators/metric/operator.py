"""Metrics of a project, as they are registered on the query side."""

from typing import Final

from schemas.operators.metric import METRIC as SPEC
from schemas.operators.metric import Metric
from services.query.operators.contract import LiveSpec, QueryOperator
from services.query.operators.metric.live import REFRESH_S
from services.query.operators.metric.openapi import RESULTS
from services.query.operators.metric.resource import MetricListResponse, Metrics
from services.query.operators.metric.response import MetricResponse, MetricResultsResponse
from services.query.operators.metric.view import METRIC_RESULTS
from services.query.verify.openapi import verify_endpoint
from services.query.verify.response import VerificationResponse

METRIC: Final = QueryOperator(
    spec=SPEC,
    resource=Metrics,
    aggregates=METRIC_RESULTS,
    results=RESULTS,
    request=Metric,
    response=MetricResponse,
    list_response=MetricListResponse,
    types=(MetricResultsResponse, VerificationResponse),
    endpoints=(verify_endpoint("metric"),),
    live=LiveSpec(Metrics.live_state, REFRESH_S),
)
