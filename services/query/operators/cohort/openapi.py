"""The descriptions of the endpoints that only cohorts have."""

from typing import Final

from services.query.http.describe import (
    AS_OF,
    DAY,
    SOURCE,
    choice,
    day_parameters,
    json_response,
    number,
    operation,
    page_parameters,
    parameter,
)
from services.query.operators.cohort.persons import FIELDS, CohortPersonsResponse
from services.query.operators.cohort.response import CohortResultsResponse
from services.query.tables.media import table_response

RESULTS: Final = operation(
    "readCohortResults",
    "A cohort's retention grid",
    {"200": json_response(CohortResultsResponse)},
    404,
    parameters=(
        SOURCE,
        AS_OF,
        *day_parameters("first day of a period to show", "all are counted"),
    ),
)
PERSONS: Final = operation(
    "listCohortPersons",
    "The persons who are counted in one cell of the grid, from ClickHouse",
    {"200": table_response(CohortPersonsResponse)},
    404,
    parameters=(
        parameter("begin", DAY, "The `begin` of the row.", required=True),
        choice("counted", FIELDS, "The field of the row."),
        number("column", "The place in that field, from 0; `persons` has none.", 0, default=0),
        *page_parameters("persons"),
        AS_OF,
    ),
)
