"""Segments, as they are registered on the query side."""

from typing import Final

import msgspec

from schemas.operators.segment import SEGMENT as SPEC
from schemas.operators.segment import Rule, Segment
from services.query.http.describe import Json
from services.query.http.forms import one_of_forms
from services.query.operators.contract import Endpoint, QueryOperator
from services.query.operators.segment.openapi import MEMBERS, OVERLAP, RESULTS
from services.query.operators.segment.resource import SegmentListResponse, Segments
from services.query.operators.segment.response import (
    SegmentMembersResponse,
    SegmentOverlapResponse,
    SegmentResponse,
    SegmentResultsResponse,
)
from services.query.operators.segment.view import SEGMENT_SIZES
from services.query.verify.openapi import verify_endpoint
from services.query.verify.response import VerificationResponse


def _refine(schemas: Json) -> None:
    """Describe a rule by its forms, of which it has one."""
    forms = msgspec.structs.fields(Rule)
    schemas["Rule"] = one_of_forms(schemas["Rule"], {form.encode_name: () for form in forms})


SEGMENT: Final = QueryOperator(
    spec=SPEC,
    resource=Segments,
    aggregates=SEGMENT_SIZES,
    results=RESULTS,
    request=Segment,
    response=SegmentResponse,
    list_response=SegmentListResponse,
    types=(
        SegmentResultsResponse,
        SegmentMembersResponse,
        SegmentOverlapResponse,
        VerificationResponse,
    ),
    endpoints=(
        Endpoint("members", Segments.members, MEMBERS, "ListSegmentMembers"),
        Endpoint("overlap", Segments.overlap, OVERLAP, "GetSegmentOverlap"),
        verify_endpoint("segment"),
    ),
    refine=_refine,
)
