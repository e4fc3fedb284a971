"""The native format: JSON or NDJSON in, one result for each event out.

    {"events": [{"event": "purchase", "distinct_id": "u1", …}, …], "sent_at": …, "project_id": …}

or an array of events, or one event, or one event a line. The write key is in the `Authorization`
header, or in the object's `write_key`: beacons can set no headers. A message on the WebSocket is
the same object, with an `id` of the sender's choice.
"""

import msgspec

from schemas.errors import AvilaError
from services.ingest.events import Batch, EventResult
from services.ingest.formats import Answer, Request
from services.ingest.formats.credentials import key_in
from services.ingest.formats.native_body import read_body
from services.ingest.refusals import refuse


class Native:
    """`POST /v1/events`."""

    name = "native"
    methods = frozenset({"POST"})
    paths = ("/v1/events",)

    def parse(self, request: Request) -> Batch:
        """Read the events and the write key; a key in the body wins over the header's."""
        batch = read_body(request)
        batch.key = batch.key or key_in(request.headers)
        return batch

    def answer(self, _: Batch, results: list[EventResult], retry_after_s: float) -> Answer:
        """Answer with the results in the order of the events."""
        retries = sum(result.result == "retry" for result in results)
        return Answer(
            status=503 if retries and retries == len(results) else 200,
            body=msgspec.json.encode({"results": results}),
            retry_after_s=retry_after_s if retries else 0,
        )

    def refuse(self, error: AvilaError) -> Answer:
        """Answer in the form that all services share."""
        return refuse(error)
