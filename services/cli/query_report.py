"""Answers to queries as text: a table, with a sparkline for each trend."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

_BARS: Final = "▁▂▃▄▅▆▇█"
_MAX_WIDTH: Final = 40


def report(kind: str, answer: Mapping[str, Any]) -> str:
    """Return the answer to a query of a kind for people to read."""
    lines = _trends(answer) if kind == "trends" else _rows(answer)
    return "\n".join([*lines, *_notes(answer)])


def sparkline(values: Sequence[float | None]) -> str:
    """Return a bar for each value, from 0 or the least value to the highest; a space for null."""
    known = [value for value in values if value is not None]
    low, high = min(0, *known, 0), max(0, *known, 0)
    return "".join(" " if value is None else _bar(value - low, high - low) for value in values)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table with a heading."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def _bar(height: float, highest: float) -> str:
    return _BARS[round((len(_BARS) - 1) * height / highest)] if highest else _BARS[0]


def _trends(answer: Mapping[str, Any]) -> list[str]:
    intervals = answer["intervals"]
    before = answer["previous"] or {"trends": []}
    totals = {_key(one): one["total"] for one in before["trends"]}
    head = ["SERIES", "VALUE", "TREND", "TOTAL", *(["BEFORE"] if answer["previous"] else [])]
    rows = []
    for one in answer["trends"]:
        row = [one["name"], _label(one), sparkline(one["values"]), _text(one["total"])]
        rows.append(row + ([_text(totals.get(_key(one)))] if answer["previous"] else []))
    span = f"{intervals[0]['begin']} to {intervals[-1]['end']}"
    return [f"{span}, by {answer['interval']} of {answer['timezone']}", *table(head, rows)]


def _key(trend: Mapping[str, Any]) -> tuple[str, str]:
    return trend["series"], _label(trend)


def _label(trend: Mapping[str, Any]) -> str:
    if trend["other"]:
        return "(other)"
    return ", ".join("(not set)" if one is None else _text(one) for one in trend["breakdown"])


def _rows(answer: Mapping[str, Any]) -> list[str]:
    """Return the first list of objects as a table, and single values above it."""
    lines = [
        f"{name}: {_text(value)}"
        for name, value in answer.items()
        if not isinstance(value, list | dict) and name not in _NOTED
    ]
    for name, value in answer.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            head = [key.upper() for key in value[0]]
            return [
                *lines,
                f"{name}:",
                *table(head, ([*map(_text, one.values())] for one in value)),
            ]
    return lines


_NOTED: Final = {"as_of", "complete_until", "incomplete"}


def _notes(answer: Mapping[str, Any]) -> list[str]:
    if not answer.get("incomplete"):
        return []
    return [f"Figures may still change: events are complete until {answer['complete_until']}."]


def _text(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return str(value).lower()
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
        case list():
            return " ".join(map(_text, value))
    text = str(value)
    return text if len(text) <= _MAX_WIDTH else f"{text[: _MAX_WIDTH - 1]}…"
