"""The endpoint of what a project has sent that is no event: counted by reason, with samples.

It knows what reached Kafka. What REST, WebSocket and gRPC refuse is answered with the reason there
and then, and is in no topic.
"""

import asyncio
import datetime
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.definitions import read_request
from services.query.http.params import (
    encode_response,
    instant,
    project_of,
    read_fields,
    read_number,
)
from services.query.projects.reinjection import Reinjection, ReinjectRequest, ReinjectResponse
from services.query.views.rejected import MAX_SAMPLES, RejectedRecords
from services.query.views.rejected import Sample as Record
from services.topic_view import TopicView

DEFAULT_SAMPLES: Final = 3


class RejectedSample(msgspec.Struct, frozen=True):
    """A record that is no event: why, where it was read, and its beginning.

    `value` is its text, or the event in it as JSON; `length` is how many bytes it had.
    """

    rejected_at: datetime.datetime
    detail: str
    key: str
    topic: str
    partition: int
    offset: int
    length: int
    value: str


class RejectedReason(msgspec.Struct, frozen=True):
    """What was rejected for one reason; `samples` are the last ones, the newest first."""

    reason: str
    count: int
    first_at: datetime.datetime
    last_at: datetime.datetime
    samples: list[RejectedSample]


class RejectedResponse(msgspec.Struct, frozen=True):
    """How many records were rejected, by reason, for as long as `avila.rejected` keeps them."""

    total: int
    reasons: list[RejectedReason]


_reinject = msgspec.json.Decoder(ReinjectRequest)


class Rejected:
    """The endpoints `/api/projects/{project}/rejected` and `…/rejected/reinject`."""

    def __init__(
        self, records: RejectedRecords, view: TopicView[Any], reinjection: Reinjection
    ) -> None:
        self._records = records
        self._view = view
        self._reinjection = reinjection
        self._one_at_a_time = asyncio.Lock()

    async def read(self, request: Request) -> Response:
        """Show what was rejected."""
        project = project_of(request)
        samples = read_number(request, "samples", 0, MAX_SAMPLES, DEFAULT_SAMPLES)
        self._view.require()
        reasons = [
            RejectedReason(
                reason=reason,
                count=counted.count,
                first_at=instant(counted.first_at),
                last_at=instant(counted.last_at),
                samples=[_show(one) for one in list(counted.samples)[::-1][:samples]],
            )
            for reason, counted in self._records.of(project).items()
        ]
        total = sum(one.count for one in reasons)
        return encode_response(RejectedResponse(total, reasons))

    async def reinject(self, request: Request) -> Response:
        """Send rejected records to the inbox again, after what was wrong has been mended."""
        project = project_of(request)
        asked = read_request(_reinject, msgspec.json.encode(await read_fields(request)))
        async with self._one_at_a_time:
            done = await asyncio.to_thread(
                self._reinjection.run, project, asked.reason, asked.after, asked.limit
            )
        return encode_response(ReinjectResponse(*done))


def _show(record: Record) -> RejectedSample:
    return RejectedSample(instant(record.rejected_at), *record[1:])
