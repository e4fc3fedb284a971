"""Records that are not events: why, and the record of `avila.rejected` that says so."""

import time
from typing import NamedTuple

from pipelines.kafka.records import Headers, Records

_MAX_DETAIL_CHARS = 1_000


class Rejection(NamedTuple):
    """Why the record in a row of a batch is not an event."""

    row: int
    reason: str
    detail: str


def headers_of(records: Records, rejection: Rejection) -> Headers:
    """Return the reason, where the record came from, and then the record's own headers."""
    return [
        ("reason", rejection.reason),
        ("detail", rejection.detail[:_MAX_DETAIL_CHARS]),
        ("topic", records.source.topic),
        ("partition", str(records.source.partition)),
        ("offset", str(records.offsets[rejection.row])),
        ("rejected_at", str(time.time_ns() // 1_000_000)),
        *records.headers(rejection.row),
    ]
