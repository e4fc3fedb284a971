"""The most frequent values, by the frequent items sketch of Apache DataSketches.

Sketches merge. Up to 384 different values are counted exactly; beyond that a count is at most
`off_by` too low, which is at most the share `WORST` of all values.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from datasketches import frequent_items_error_type, frequent_strings_sketch

_LG_PLACES: Final = 9
WORST: Final[float] = frequent_strings_sketch.get_epsilon_for_lg_size(_LG_PLACES)
MAX_TEXT: Final = 200  # texts with the same first characters are one value

Value = str | int | float | bool


class Top(NamedTuple):
    """The most frequent values with their counts, and the count of all others."""

    values: list[tuple[Value, int]]
    other: int
    off_by: int = 0


class TopValues:
    """A sketch of values by their keys (`key_of`), of about 12 kB of text at most."""

    def __init__(self) -> None:
        self.sketch: Any = frequent_strings_sketch(_LG_PLACES)

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> "TopValues":
        """Return the sketch of keys with their counts."""
        made = cls()
        for key, count in counts.items():
            made.sketch.update(key, count)
        return made

    @classmethod
    def read(cls, data: bytes) -> "TopValues":
        """Read what `bytes()` returned, or a frequent items sketch in another language wrote."""
        made = cls()
        made.sketch = frequent_strings_sketch.deserialize(data)
        return made

    def __bytes__(self) -> bytes:
        data: bytes = self.sketch.serialize()
        return data

    def __len__(self) -> int:
        count: int = self.sketch.total_weight
        return count

    def merged(self, other: "TopValues") -> "TopValues":
        """Return the sketch of the values of both; neither is changed."""
        made = TopValues()
        made.sketch.merge(self.sketch)
        made.sketch.merge(other.sketch)
        return made

    def top(self, limit: int) -> Top:
        """Return the `limit` most frequent values; equally frequent ones in the order of keys."""
        every = frequent_items_error_type.NO_FALSE_NEGATIVES
        items = self.sketch.get_frequent_items(every, 0)
        # An item is a key, an estimate, and the lower and upper bound of its count.
        counted = sorted((-least, key) for key, _, least, _ in items)[:limit]
        return Top(
            [(value_of(key), -least) for least, key in counted],
            len(self) + sum(least for least, _ in counted),
            max((most - least for _, _, least, most in items), default=0),
        )


def key_of(value: Any) -> str | None:
    """Return the key of a value in a sketch; None for what is not counted as a value."""
    match value:
        case bool():
            return f"b{int(value)}"
        case str():
            return f"s{value[:MAX_TEXT]}"
        case int():
            return f"n{value}"
        case float():
            whole = value.is_integer() and abs(value) < 2**53  # 1.0 is 1
            return f"n{int(value)}" if whole else f"n{value!r}"
    return None


def value_of(key: str) -> Value:
    """Return the value of a key."""
    text = key[1:]
    match key[0]:
        case "b":
            return text == "1"
        case "s":
            return text
    return int(text) if text.lstrip("-").isdigit() else float(text)
