"""The descriptions of the endpoints that only funnels have."""

from typing import Final

from services.query.http.describe import (
    AS_OF,
    CLOCK,
    SOURCE,
    TIME,
    choice,
    day_parameters,
    json_response,
    number,
    operation,
    page_parameters,
    parameter,
)
from services.query.operators.funnel.comparison import MAX_SPAN_S, ComparisonResponse
from services.query.operators.funnel.persons import OUTCOMES, FunnelPersonsResponse
from services.query.operators.funnel.response import PERIODS, FunnelResultsResponse
from services.query.operators.funnel.times import DEFAULT_BINS, MAX_BINS, FunnelTimesResponse
from services.query.tables.media import table_response

_DAY: Final = "entry day (of the funnel's time zone)"

RESULTS: Final = operation(
    "readFunnelResults",
    "A funnel's results",
    {"200": json_response(FunnelResultsResponse)},
    404,
    parameters=(
        SOURCE,
        AS_OF,
        *day_parameters(f"{_DAY} to show", "totals are over all days"),
        choice(
            "period",
            PERIODS,
            "Entry days are added up by it; weeks begin on `week_start`.",
        ),
    ),
)
TIMES: Final = operation(
    "readFunnelTimes",
    "How long persons took to a step",
    {"200": json_response(FunnelTimesResponse)},
    404,
    parameters=(
        SOURCE,
        AS_OF,
        *day_parameters(f"{_DAY} to count", "all are counted by default"),
        number("step", "The step; by default the last one.", 2),
        number("bins", "The most bins to return.", 1, maximum=MAX_BINS, default=DEFAULT_BINS),
    ),
)
PERSONS: Final = operation(
    "listFunnelPersons",
    "The persons who reached a step, or dropped out before it, from ClickHouse",
    {"200": table_response(FunnelPersonsResponse)},
    404,
    parameters=(
        number("step", "The step; by default the last one.", 1),
        choice(
            "outcome",
            OUTCOMES,
            "`reached`: who reached the step. `dropped`: who reached the step before it that is "
            "not optional, and not this one.",
        ),
        *day_parameters(f"{_DAY} to count", "all are counted by default"),
        *page_parameters("persons"),
        AS_OF,
    ),
)
COMPARE: Final = operation(
    "compareFunnel",
    "A funnel before and after a moment, at equal age: steps reached within `age_s` of the entry, "
    "of persons who entered at least that long ago; from ClickHouse",
    {"200": json_response(ComparisonResponse)},
    404,
    parameters=(
        parameter("at", TIME, "The moment, such as that of an annotation.", required=True),
        number(
            "span_s",
            "How long before and after the moment entries are counted; by default as long as "
            "persons have reached the age.",
            1,
            maximum=MAX_SPAN_S,
        ),
        number(
            "age_s",
            "The age; by default the funnel's window, or half of the time since the moment if "
            "that is less.",
            1,
            maximum=MAX_SPAN_S,
        ),
        AS_OF,
        CLOCK,
    ),
)
