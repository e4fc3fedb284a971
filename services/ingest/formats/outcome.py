"""Reduce the results of all events to one status, for SDKs that read nothing else.

Such SDKs send the whole request again after 5xx and nothing after 4xx. So one event to retry makes
the answer 503, and the ids of the others let them count once. An event that is dropped leaves the
answer 200 as long as another one was taken.
"""

from schemas.errors import AvilaError, BackOff, InvalidRequest
from services.ingest.events import EventResult


def failure(results: list[EventResult], retry_after_s: float) -> AvilaError | None:
    """Return the error to answer the whole request with; None if it succeeded."""
    verdicts = {result.result for result in results}
    if "retry" in verdicts:
        return BackOff("the broker did not answer in time: send the request again", retry_after_s)
    if verdicts == {"drop"}:
        return InvalidRequest(f"no event was taken: {results[0].details}")
    return None


def remarks(results: list[EventResult]) -> dict[str, list[dict[str, object]]]:
    """Return which events were dropped, and which taken with a warning, each with the reason.

    The members `dropped` and `warnings` are there only if they have items. SDKs ignore them; people
    read them.
    """
    members = {}
    for name, verdict in (("dropped", "drop"), ("warnings", "warning")):
        items: list[dict[str, object]] = [
            {"index": place, "id": result.event_id, "message": result.details}
            for place, result in enumerate(results)
            if result.result == verdict
        ]
        if items:
            members[name] = items
    return members
