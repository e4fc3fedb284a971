"""Which texts are times, and which moments they name."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.time.rfc3339 import read_time

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
offsets = st.integers(-1_439, 1_439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(timezones=offsets), st.integers(0, 6))
def test_a_time_is_the_moment_that_the_standard_library_reads(at: datetime, digits: int) -> None:
    zone = at.isoformat()[-6:]
    fraction = f".{at.microsecond:06}"[: digits + 1] if digits else ""
    text = f"{at.replace(tzinfo=None).isoformat(timespec='seconds')}{fraction}{zone}"
    shown = datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH
    offset = at.utcoffset()
    assert offset is not None
    assert read_time(text) == (shown - offset) // timedelta(milliseconds=1)


@given(st.dates())
def test_a_date_is_its_first_moment_in_utc(day: date) -> None:
    assert read_time(f"{day}") == read_time(f"{day}T00:00:00Z")


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1970-01-01", 0),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2026-11-22T10:00:00Z", 1_795_341_600_000),
        ("2026-11-22T10:00:00.5Z", 1_795_341_600_500),
        ("2026-11-22T10:00:00.000999999999Z", 1_795_341_600_000),
        ("2026-11-22T11:00:00+01:00", 1_795_341_600_000),
        ("2026-11-21T10:01:00-23:59", 1_795_341_600_000),
        ("2026-11-22T10:00:00-00:00", 1_795_341_600_000),
        ("2024-02-29", 1_709_164_800_000),
        ("0001-01-01T00:00:00+23:59", -62_135_683_140_000),
        ("9999-12-31T23:59:59.999-23:59", 253_402_387_139_999),
    ],
)
def test_a_time_is_read(text: str, at: int) -> None:
    assert read_time(text) == at


@pytest.mark.parametrize(
    "text",
    [
        *("", "2026", "2026-11", "2026-11-22T", "20261122", "2026-W47-7", "1795341600000", "now"),
        *("2026-02-29", "1900-02-29", "2026-04-31", "2026-13-01", "2026-00-01", "2026-01-00"),
        *("0000-01-01", "10000-01-01", "-2026-01-01", "2026-1-1", "٢٠٢٦-11-22"),
        *("2026-11-22T10:00Z", "2026-11-22T10:00:00", "2026-11-22Z", "2026-11-22T10:00:00.Z"),
        *("2026-11-22 10:00:00Z", "2026-11-22t10:00:00Z", "2026-11-22T10:00:00z"),
        *("2026-11-22T24:00:00Z", "2026-11-22T10:60:00Z", "2026-12-31T23:59:60Z"),
        *("2026-11-22T10:00:00+24:00", "2026-11-22T10:00:00+01:60", "2026-11-22T10:00:00+0100"),
        *("2026-11-22\n", " 2026-11-22", "2026-11-22T10:00:00Z "),
    ],
)
def test_other_text_is_no_time(text: str) -> None:
    assert read_time(text) is None
