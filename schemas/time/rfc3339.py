"""Times as text in definitions: a strict subset of RFC 3339.

A time is a date, `2026-11-22`, which means the first moment of that day in UTC, or a date and a
time of day with a zone: `2026-11-22T10:00:00Z`, `2026-11-22T11:00:00.25+01:00`. Letters are upper
case, years are 0001 to 9999, and leap seconds (`:60`) do not exist. Digits beyond milliseconds are
ignored. Any other text is not a time.

ClickHouse evaluates the same grammar and weights (`services/query/clickhouse/conditions.py`), so
the grammar uses only what Python's engine and RE2 read alike.
"""

import datetime
import re
from typing import Final

_YEAR: Final = "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_CLOCK: Final = "([01][0-9]|2[0-3]):([0-5][0-9])"
_FRACTION: Final = r"(?:\.([0-9])([0-9])?([0-9])?[0-9]*)?"
_ZONE: Final = rf"(?:Z|\+{_CLOCK}|-{_CLOCK})"
# The first group is the date. The sum of the others, each times its weight, is the milliseconds
# since that day began: hours, minutes, seconds, tenths, hundredths and thousandths of a second, the
# hours and minutes of an offset to the east, and those of an offset to the west.
GRAMMAR: Final = f"({_YEAR}-[0-9]{{2}}-[0-9]{{2}})(?:T{_CLOCK}:([0-5][0-9]){_FRACTION}{_ZONE})?"
WEIGHTS: Final = (3_600_000, 60_000, 1_000, 100, 10, 1, -3_600_000, -60_000, 3_600_000, 60_000)
DAY_MS: Final = 86_400_000

# For messages: what is accepted.
TIME_FORMATS: Final = (
    "2026-11-22 or 2026-11-22T10:00:00.000Z, or with an offset such as +01:00 instead of Z"
)

_grammar: Final = re.compile(GRAMMAR)
_MOMENT_0: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_EPOCH: Final = datetime.date(1970, 1, 1).toordinal()


def read_time(text: str) -> int | None:
    """Return the milliseconds since 1970, negative before it; None if `text` is not a time."""
    found = _grammar.fullmatch(text)
    if found is None:
        return None
    date, *numbers = found.groups("0")
    try:
        days = datetime.date.fromisoformat(date).toordinal() - _EPOCH
    except ValueError:
        return None
    later = (int(number) * weight for number, weight in zip(numbers, WEIGHTS, strict=True))
    return days * DAY_MS + sum(later)


def write_time(ms: int) -> str:
    """Return milliseconds since 1970 as a time in UTC; as the number if no year has four digits."""
    try:
        moment = _MOMENT_0 + datetime.timedelta(milliseconds=ms)
    except OverflowError:
        return str(ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
