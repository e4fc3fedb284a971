"""Which day it is, as a calendar on the wall says."""

import datetime
import zoneinfo

EPOCH = datetime.date(1970, 1, 1)


def date_of(at: int, timezone: str) -> datetime.date:
    """The date of an instant (ms) in a time zone."""
    return datetime.datetime.fromtimestamp(at // 1_000, zoneinfo.ZoneInfo(timezone)).date()


def day_of(at: int, timezone: str = "UTC") -> int:
    """The date of an instant (ms) in a time zone, in days since 1970."""
    return (date_of(at, timezone) - EPOCH).days
