"""Funnels, as they are registered on the query side."""

from typing import Final

from schemas.operators.funnel import FUNNEL as SPEC
from schemas.operators.funnel import Funnel
from services.query.operators.contract import Endpoint, LiveSpec, QueryOperator
from services.query.operators.funnel.comparison import ComparedGroup, ComparisonResponse
from services.query.operators.funnel.live import LiveFunnel
from services.query.operators.funnel.openapi import COMPARE, PERSONS, RESULTS, TIMES
from services.query.operators.funnel.persons import FunnelPersonsResponse
from services.query.operators.funnel.resource import FunnelListResponse, Funnels
from services.query.operators.funnel.response import FunnelResponse, FunnelResultsResponse
from services.query.operators.funnel.times import FunnelTimesResponse
from services.query.operators.funnel.view import FUNNEL_RESULTS
from services.query.trace.endpoint import TRACE
from services.query.trace.response import FunnelTraceResponse
from services.query.verify.diff import DiffResponse
from services.query.verify.openapi import diff_endpoint, verify_endpoint
from services.query.verify.response import VerificationResponse

FUNNEL: Final = QueryOperator(
    spec=SPEC,
    resource=Funnels,
    aggregates=FUNNEL_RESULTS,
    results=RESULTS,
    request=Funnel,
    response=FunnelResponse,
    list_response=FunnelListResponse,
    types=(
        FunnelResultsResponse,
        FunnelTimesResponse,
        FunnelPersonsResponse,
        FunnelTraceResponse,
        ComparedGroup,
        ComparisonResponse,
        DiffResponse,
        LiveFunnel,
        VerificationResponse,
    ),
    endpoints=(
        Endpoint("times", Funnels.times, TIMES, "GetFunnelTimes"),
        Endpoint("persons", Funnels.persons, PERSONS, "ListFunnelPersons"),
        Endpoint("persons/{person}/trace", Funnels.trace, TRACE, "GetFunnelTrace"),
        Endpoint("compare", Funnels.compare, COMPARE, "CompareFunnel"),
        verify_endpoint("funnel"),
        diff_endpoint("funnel"),
    ),
    live=LiveSpec(Funnels.live_state),
)
