"""Read times as senders write them, and the current time."""

import time
from datetime import UTC, datetime
from typing import Final

from schemas.errors import InvalidRequest
from services.ingest.events import Time

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MS: Final = 253_402_300_799_999  # the end of the year 9999
_ACCEPTED: Final = "accepted are ISO 8601 text with a zone and whole milliseconds since 1970"


def now_ms() -> int:
    """Return the current time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def read_time(value: Time, field: str) -> tuple[int, bool]:
    """Return `value` in milliseconds since 1970, and whether UTC was assumed for its zone.

    Does not judge whether the time is plausible: `sent_at` corrects a wrong clock later.

    Raises:
        InvalidRequest: `value` is not a time from 1970 to 9999.
    """
    assumed = False
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise InvalidRequest(f"{value[:40]!r} is not a time; {_ACCEPTED}", field) from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
            assumed = True
        since = moment - _EPOCH
        ms = since.days * 86_400_000 + since.seconds * 1_000 + since.microseconds // 1_000
    elif value is None:
        raise InvalidRequest(f"a time is required; {_ACCEPTED}", field)
    else:
        ms = int(value)
    if not 0 <= ms <= _LATEST_MS:
        raise InvalidRequest(f"{str(value)[:40]} is not from 1970 to 9999; {_ACCEPTED}", field)
    return ms, assumed
