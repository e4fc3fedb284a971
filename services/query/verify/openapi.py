"""The endpoint that verifies figures, as operators register it."""

from typing import Any

from services.query.http.describe import Json, json_response, operation, parameter
from services.query.operators.contract import Endpoint
from services.query.verify.resource import VerifiedResource
from services.query.verify.response import VerificationResponse


# Of any resource that is verified: the operator knows which.
def verify_endpoint(kind: str) -> Endpoint[Any]:
    """Return the endpoint `verify` of an operator."""
    return Endpoint(
        "verify", VerifiedResource.verify, _verification(kind), "VerifyDefinition", kind
    )


def _verification(kind: str) -> Json:
    return operation(
        f"verify{kind.capitalize()}",
        f"Whether ClickHouse counts what the stream counts of a {kind}, over the same events; and "
        "if not, which figures, persons and events differ",
        {"200": json_response(VerificationResponse)},
        404,
        parameters=(
            parameter(
                "after",
                {"type": "string"},
                "Compare the events of the store with those of the log from here on: `next` of an "
                "earlier answer.",
            ),
        ),
    )
