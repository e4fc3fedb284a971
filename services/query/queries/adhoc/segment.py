"""A segment that is asked once, by the statements of defined ones."""

from typing import Any, Final

from schemas.operators.segment import Segment, SegmentDefinition
from schemas.queries.adhoc import SEGMENT as SPEC
from schemas.queries.adhoc import SegmentQuery
from services.query.operators.segment.references import References
from services.query.operators.segment.sql import members_statement, sizes_statement
from services.query.queries.adhoc.days import parts_of
from services.query.queries.contract import QueryContext, QueryKind, StateStatement
from services.query.queries.response import QueryResponse
from services.query.tables.columns import columns


class SegmentQueryResponse(QueryResponse, frozen=True, kw_only=True):
    """How many persons the rule holds for, and some of them, by id.

    `next` is the next page's `after`, null at the end.
    """

    size: int
    persons: list[str]
    next: str | None


def _definition(context: QueryContext, query: SegmentQuery) -> SegmentDefinition:
    rules = {one.id: one.segment.rule for one in context.project_segments}
    own: dict[str, Any] = parts_of(context.project_id)
    return SegmentDefinition(
        **own,
        segment=Segment(rule=query.rule),
        rule=References({**rules, "": query.rule}).resolved(""),
    )


async def _export(context: QueryContext, query: SegmentQuery) -> StateStatement:
    definition = _definition(context, query)
    return context.passing(
        lambda source: members_statement(source, definition, context.clock, query.after, None),
        query.where,
    )


async def _answer(context: QueryContext, query: SegmentQuery) -> SegmentQueryResponse:
    definition = _definition(context, query)
    sizes = await context.run_statement(
        lambda source: sizes_statement(source, [definition], context.clock), query.where
    )
    members = await context.run_statement(
        lambda source: members_statement(
            source, definition, context.clock, query.after, query.limit + 1
        ),
        query.where,
    )
    persons, after = members.page(query.limit)
    return SegmentQueryResponse(
        **context.parts(), size=int(sizes.only[0]), persons=persons, next=after
    )


SEGMENT: Final = QueryKind(
    SPEC,
    _answer,
    "QuerySegment",
    SegmentQueryResponse,
    (SegmentQuery, SegmentQueryResponse),
    rows=lambda answer: [{"person": person} for person in answer.persons],
    table=columns(person="text"),
    export=_export,
)
