"""Read times as senders write them, judge them, and tell the current time."""

import time
from datetime import UTC, datetime
from typing import Final

from schemas.errors import InvalidRequest
from schemas.time.plausible import by_our_clock, seen_unit
from schemas.time.rfc3339 import write_time
from services.ingest.events import Time
from services.ingest.limits import Limits

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MS: Final = 253_402_300_799_999  # the end of the year 9999
_ACCEPTED: Final = "accepted are ISO 8601 text with a zone and whole milliseconds since 1970"


def now_ms() -> int:
    """Return the current time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def read_time(value: Time, field: str) -> tuple[int, bool]:
    """Return `value` in milliseconds since 1970, and whether UTC was assumed for its zone.

    Whether the time is plausible depends on the device's clock: see `check_plausible`.

    Raises:
        InvalidRequest: `value` is not a time from 1970 to 9999, or a number in another unit.
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
        if remark := seen_unit(value):
            raise InvalidRequest(f"{str(value)[:40]}{remark}; {_ACCEPTED}", field)
        ms = int(value)
    if not 0 <= ms <= _LATEST_MS:
        raise InvalidRequest(f"{str(value)[:40]} is not from 1970 to 9999; {_ACCEPTED}", field)
    return ms, assumed


_DAY_MS: Final = 86_400_000


def check_plausible(timestamp: int, sent_at: int | None, received_at: int, limits: Limits) -> None:
    """Check that an event happened neither too long ago nor in the future, by our clock.

    Raises:
        InvalidRequest: the Tracker would reject it, or it is older than the limit.
    """
    tolerance, skew = limits.clock_tolerance_s * 1_000, limits.max_future_skew_s * 1_000
    time = by_our_clock(timestamp, sent_at, received_at, tolerance, skew)
    if time > received_at + skew:
        raise InvalidRequest(
            f"{write_time(timestamp)} is {(time - received_at) // 1_000} s after its receipt; the "
            f"limit is {limits.max_future_skew_s} (max_future_skew_s)",
            "timestamp",
        )
    if time < received_at - limits.max_event_age_days * _DAY_MS:
        days = (received_at - time) // _DAY_MS
        raise InvalidRequest(
            f"{write_time(timestamp)} is {days} days before its receipt; the limit is "
            f"{limits.max_event_age_days} (max_event_age_days): import older events",
            "timestamp",
        )
