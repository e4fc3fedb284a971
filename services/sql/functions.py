"""The functions that SQL may call: an allow list of names, as ClickHouse spells them.

A function is listed if its result depends only on its arguments, the clock and chance. So the lists
have no function that reads a table or a dictionary by its name, a file, an address, a setting or
the machine, none that waits, and none that takes SQL or the name of another function as text.
A function that a later version of ClickHouse adds is refused until it is listed.
"""

from pathlib import Path
from typing import Final

# What may follow the name of an aggregate function. Not `State` and `Merge`, whose values are bytes
# that only ClickHouse can read.
_COMBINATORS: Final = (
    *("If", "Array", "Map", "Distinct", "OrNull", "OrDefault", "ForEach", "ArgMin", "ArgMax"),
)
_MAX_COMBINATORS: Final = 3


def _read(name: str) -> frozenset[str]:
    lines = Path(__file__).with_name(name).read_text("utf-8").splitlines()
    return frozenset(word for line in lines if line[:1] != "#" for word in line.split())


AGGREGATES: Final = _read("aggregates.txt")
FUNCTIONS: Final = _read("functions.txt") | AGGREGATES
_BY_LOWER_CASE: Final = {name.lower(): name for name in sorted(FUNCTIONS)}

# Those whose first argument may be a function, for which ClickHouse also accepts the bare name of
# any function.
HIGHER_ORDER: Final = frozenset(
    name
    for name in FUNCTIONS
    if name.startswith(
        (
            *("arrayAll", "arrayAvg", "arrayCompact", "arrayCount", "arrayCumSum"),
            *("arrayDifference", "arrayExists", "arrayFill", "arrayFilter", "arrayFirst"),
            *("arrayFold", "arrayLast", "arrayMap", "arrayMax", "arrayMin", "arrayProduct"),
            *("arrayReverseFill", "arrayReverseSort", "arrayReverseSplit", "arraySort"),
            *("arraySplit", "arraySum", "mapAll", "mapApply", "mapExists", "mapFilter"),
            *("mapReverseSort", "mapSort"),
        )
    )
)


def find_function(name: str) -> str | None:
    """Return the name that ClickHouse knows an allowed function by; None if it is not allowed.

    Capitals make no difference, except in combinators such as the `If` of `countIf`.
    """
    if found := _find(name):
        return found
    suffixes = ""
    for _ in range(_MAX_COMBINATORS):
        suffix = next((one for one in _COMBINATORS if name.endswith(one)), None)
        if suffix is None:
            return None
        name, suffixes = name.removesuffix(suffix), suffix + suffixes
        found = _find(name)
        if found in AGGREGATES:
            return f"{found}{suffixes}"
    return None


def _find(name: str) -> str | None:
    return name if name in FUNCTIONS else _BY_LOWER_CASE.get(name.lower())
