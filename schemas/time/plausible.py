"""Which numbers can be times of events in milliseconds, and which seem to be in another unit."""

from typing import Final

EARLIEST_MS: Final = 946_684_800_000  # 2000-01-01; older times come from clocks that were never set
# SDKs round `sent_at` to seconds, so that it may be that much before the event.
ROUNDING_MS: Final = 1_000

_LATEST_MS: Final = 4_102_444_800_000  # 2100-01-01

_UNITS: Final = (("seconds", 1_000, 1), ("microseconds", 1, 1_000), ("nanoseconds", 1, 1_000_000))


def by_our_clock(
    timestamp: int, sent_at: int | None, received_at: int, tolerance: int, max_skew: int
) -> int:
    """Return when an event happened by our clock, if nothing else is known of its device.

    A device whose clock is right within the tolerance keeps its own times, and a `sent_at` before
    the event says nothing about its clock. All are milliseconds.
    """
    if sent_at is None:
        return timestamp
    reading = received_at - sent_at
    is_possible = timestamp - sent_at <= ROUNDING_MS
    shifted = timestamp + reading
    latest = received_at + max_skew
    is_wrong = abs(reading) > tolerance and is_possible
    # Nothing else explains a time in the future.
    is_ahead = timestamp > latest and 2 * abs(reading) > tolerance
    if is_wrong or (is_ahead and (is_possible or shifted <= latest)):
        return min(shifted, received_at)
    return timestamp


def unit_of(number: float) -> str:
    """Return the unit in which a number is a time from 2000 to 2100; "" if that is milliseconds.

    It is also "" if that is none of the units that senders use.
    """
    if EARLIEST_MS <= number < _LATEST_MS:
        return ""
    for unit, factor, divisor in _UNITS:
        # Senders write whole numbers of any size, and a quotient of those may be too large.
        if EARLIEST_MS * divisor <= number * factor < _LATEST_MS * divisor:
            return unit
    return ""


def seen_unit(number: float) -> str:
    """Return a remark for an error message, that a number seems to be in another unit, or ""."""
    unit = unit_of(number)
    return f" seems to be in {unit}, not in milliseconds" if unit else ""
