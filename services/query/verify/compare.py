"""Compares two responses figure by figure. Pure."""

from collections.abc import Collection, Iterator, Mapping
from math import isclose
from typing import Any, Final, TypeAlias

import msgspec

# What is shown in JSON: a figure, or what holds figures.
Figures: TypeAlias = Mapping[str, Any]
Value: TypeAlias = str | int | float | bool | None

# What says of whom, whence and when figures are, and so differs without a difference.
_ABOUT: Final = {
    *("funnel", "cohort", "segment", "metric", "source", "state", "backfilled", "previous"),
    *("updated_at", "positions", "complete_until", "late_dropped", "approximate", "error"),
    *("clock", "as_of", "step", "event", "other"),
}
# The fields that name the members of a list.
_NAMES: Final = ("day", "begin", "step", "seconds", "buckets")
# Quantiles of times are within 1 % of the true one, on either side.
_SKETCHED: Final = {"median_ms", "p90_ms"}
_SKETCH_ERROR: Final = 0.021
_ROUNDING: Final = 1e-9


class FigureDifference(msgspec.Struct, frozen=True):
    """A figure by its path in the results, and what both answers have there; null for nothing."""

    figure: str
    stream: Value
    store: Value


def differences(
    stream: object, store: object, without: Collection[str] = ()
) -> list[FigureDifference]:
    """Return the figures that differ between two responses of one type.

    Fields called `without` are not compared. Sums may differ by rounding, and quantiles by the
    error of their sketch.
    """
    one, two = (dict(_figures(msgspec.to_builtins(of), without, "")) for of in (stream, store))
    return [
        FigureDifference(path, one.get(path), two.get(path))
        for path in sorted(one.keys() | two.keys())
        if not _alike(path, one.get(path), two.get(path))
    ]


def _figures(of: Any, without: Collection[str], path: str) -> Iterator[tuple[str, Value]]:
    """Yield the figures in what `msgspec.to_builtins` made of a response, by their paths."""
    if isinstance(of, dict):
        for name, value in of.items():
            if name not in _ABOUT and name not in without:
                yield from _figures(value, without, f"{path}.{name}" if path else str(name))
    elif isinstance(of, list):
        for place, item in enumerate(of):
            yield from _figures(item, without, f"{path}[{_name(item, place)}]")
    else:
        yield path, of


def _name(item: Any, place: int) -> str:
    if isinstance(item, dict):
        for name in _NAMES:
            if item.get(name) is not None:
                return str(item[name])
        if "value" in item:
            return "other" if item.get("other") is True else repr(item["value"])
    return str(place)


def _alike(path: str, one: Value, two: Value) -> bool:
    # What nobody is in is left out of either answer.
    if not (one or two):
        return True
    if isinstance(one, int | float) and isinstance(two, int | float):
        if path.rpartition(".")[2] in _SKETCHED:
            return isclose(one, two, rel_tol=_SKETCH_ERROR, abs_tol=1)
        return one == two or isclose(one, two, rel_tol=_ROUNDING)
    return one == two
