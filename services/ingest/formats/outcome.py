"""What SDKs are told that know one outcome for a whole request, as most do.

They send all of it again after 5xx, and nothing of it after 4xx. So one event that is to be tried
again makes it 503: the ids of the others make them count once. And an event that is dropped for
good does not keep its neighbours from being 200.
"""

from schemas.errors import AvilaError, BackOff, InvalidRequest
from services.ingest.events import Result


def failure(results: list[Result], retry_after_s: float) -> AvilaError | None:
    """Return the error to answer the whole request with, if it is to be one."""
    verdicts = {result.result for result in results}
    if "retry" in verdicts:
        return BackOff("the broker did not answer in time: send it again", retry_after_s)
    if verdicts == {"drop"}:
        return InvalidRequest(f"no event was taken: {results[0].details}")
    return None


def dropped(results: list[Result]) -> list[dict[str, object]]:
    """Return why which events were not taken; SDKs do not look, people do."""
    return [
        {"index": place, "id": result.event_id, "message": result.details}
        for place, result in enumerate(results)
        if result.result == "drop"
    ]
