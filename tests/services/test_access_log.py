"""Which requests have a line in the log, and how many lines there may be."""

from typing import Any

import pytest

from schemas.errors import Misconfigured
from services.access_log import MAX_PER_S, AccessLog

Lines = list[dict[str, Any]]


def log(level: str, lines: Lines, at: list[float]) -> AccessLog:
    def write(_: str, **fields: Any) -> None:
        lines.append(fields)

    return AccessLog(level, clock=lambda: at[0], write=write)


@pytest.mark.parametrize(
    ("level", "statuses"),
    [
        ("none", []),
        ("refused", [401, 503, "UNAVAILABLE"]),
        ("all", [200, 204, 304, 401, 503, "OK", "UNAVAILABLE"]),
    ],
)
def test_the_level_says_which_requests_have_a_line(level: str, statuses: list[int | str]) -> None:
    lines: Lines = []
    one = log(level, lines, [0.0])
    for status in (200, 204, 304, 401, 503, "OK", "UNAVAILABLE"):
        one.line(status, 0.001)
    assert [line["status"] for line in lines] == statuses


def test_a_line_says_who_asked_and_how_long_it_took() -> None:
    lines: Lines = []
    log("all", lines, [0.0]).line(200, 0.0123456, format="native", client="192.0.2.1")
    assert lines == [{"status": 200, "ms": 12.35, "format": "native", "client": "192.0.2.1"}]


def test_lines_a_second_are_bounded_and_the_next_line_counts_the_suppressed_ones() -> None:
    lines: Lines = []
    at = [10.0]
    one = log("refused", lines, at)
    for _ in range(MAX_PER_S + 7):
        one.line(401, 0)
    assert len(lines) == MAX_PER_S
    at[0] = 11.5
    one.line(401, 0)
    one.line(401, 0)
    assert [line.get("suppressed") for line in lines[MAX_PER_S:]] == [7, None]


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(Misconfigured, match="AVILA_ACCESS_LOG is 'loud'; accepted are none, ref"):
        AccessLog("loud")
