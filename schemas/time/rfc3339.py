"""Times in text, as conditions read them: a strict part of RFC 3339.

A time is a date, `2026-11-22`, which is the first moment of that day in UTC; or a date and a time
of day with its zone: `2026-11-22T10:00:00Z`, `2026-11-22T11:00:00.25+01:00`. Letters are upper
case, the years are 0001 to 9999, the day is one that the month has, and there are no leap seconds
(`:60`). What comes after milliseconds is cut off. Any other text is not a time.

ClickHouse is given the same grammar and weights (`services/query/clickhouse/conditions.py`), so the
grammar uses nothing that Python's engine and RE2 read differently.
"""

import datetime
import re
from typing import Final

_YEAR: Final = "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_CLOCK: Final = "([01][0-9]|2[0-3]):([0-5][0-9])"
_FRACTION: Final = r"(?:\.([0-9])([0-9])?([0-9])?[0-9]*)?"
_ZONE: Final = rf"(?:Z|\+{_CLOCK}|-{_CLOCK})"
# Groups: the date, and numbers that are, times their weights, the milliseconds since its first
# moment: hours, minutes, seconds, tenths, hundredths and thousandths of them, then the hours and
# minutes of an offset to the east, and those of one to the west.
GRAMMAR: Final = f"({_YEAR}-[0-9]{{2}}-[0-9]{{2}})(?:T{_CLOCK}:([0-5][0-9]){_FRACTION}{_ZONE})?"
WEIGHTS: Final = (3_600_000, 60_000, 1_000, 100, 10, 1, -3_600_000, -60_000, 3_600_000, 60_000)
DAY_MS: Final = 86_400_000

_grammar: Final = re.compile(GRAMMAR)
_EPOCH: Final = datetime.date(1970, 1, 1).toordinal()


def read_time(text: str) -> int | None:
    """Return the milliseconds since 1970, negative before; None if `text` is not a time."""
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
