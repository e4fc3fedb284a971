"""Cohorts, as they are registered on the query side."""

from typing import Final

from schemas.operators.cohort import COHORT as SPEC
from schemas.operators.cohort import Cohort
from services.query.operators.cohort.openapi import PERSONS, RESULTS
from services.query.operators.cohort.persons import CohortPersonsResponse
from services.query.operators.cohort.resource import CohortListResponse, Cohorts
from services.query.operators.cohort.response import CohortResponse, CohortResultsResponse
from services.query.operators.cohort.view import COHORT_RESULTS
from services.query.operators.contract import Endpoint, QueryOperator
from services.query.verify.openapi import verify_endpoint
from services.query.verify.response import VerificationResponse

COHORT: Final = QueryOperator(
    spec=SPEC,
    resource=Cohorts,
    aggregates=COHORT_RESULTS,
    results=RESULTS,
    request=Cohort,
    response=CohortResponse,
    list_response=CohortListResponse,
    types=(CohortResultsResponse, CohortPersonsResponse, VerificationResponse),
    endpoints=(
        Endpoint("persons", Cohorts.persons, PERSONS, "ListCohortPersons"),
        verify_endpoint("cohort"),
    ),
)
