"""Check the properties of events, and bring them into the form that all readers read alike.

What the doors have taken is canonical already (`schemas.json_text`), and recognized as such. Others
who write to the inbox may send any JSON: it is stored in the same form.
"""

from typing import Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from pipelines.columnar.canonical_json import MAX_LEVELS, Scratch, is_canonical, scratch
from pipelines.columnar.jit import Bytes, Int32s, kernel, register_example
from pipelines.columnar.json_scan import find_members
from pipelines.columnar.string_column import ArrowColumn, StringColumn
from schemas.errors import InvalidRecord
from schemas.json_text import canonicalize, is_empty_object

MAX_PROPERTIES: Final = 1_000
# Texts up to this size cannot have more properties, as each takes five bytes.
_SMALL: Final = 5 * MAX_PROPERTIES
_MAX_BYTES: Final = 1 << 20

_UNKNOWN, _CANONICAL_IF_VALID, _CANONICAL = range(3)
_read_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class CheckedProperties(NamedTuple):
    """The column in canonical form, and by row what is wrong with those that are not valid."""

    column: ArrowColumn
    faults: dict[int, InvalidRecord]


def check_properties(column: ArrowColumn) -> CheckedProperties:
    """Check a column of texts, each of which must be a JSON object."""
    states = np.empty(len(column), np.uint8)
    nothing, no_values = StringColumn.empty(0), np.empty(0, np.int32)
    _classify(*StringColumn.of(column), *nothing, no_values, scratch(MAX_PROPERTIES), states)
    faults: dict[int, InvalidRecord] = {}
    changed: dict[int, str] = {}
    for row in np.flatnonzero(states != _CANONICAL).tolist():
        text = column[row].as_py()
        try:
            canonical = _canonical(text, states[row] == _CANONICAL_IF_VALID)
        except InvalidRecord as fault:
            faults[row] = fault
        else:
            if canonical != text:
                changed[row] = canonical
    if changed:
        texts = column.to_pylist()
        for row, text in changed.items():
            texts[row] = text
        column = pa.array(texts, pa.string())
    return CheckedProperties(column, faults)


def _canonical(text: str, is_canonical_if_valid: bool) -> str:
    """Return an object in canonical form; raises `InvalidRecord`."""
    try:
        members = _read_object(text)
    except (msgspec.DecodeError, RecursionError) as error:
        if is_empty_object(text.strip().encode()):  # null, or PHP's []
            return "{}"
        if text.lstrip()[:1] != "{":
            raise _invalid(error) from None
        # NaN and such are left out, as the doors do.
        return _repaired(text)
    _check_count(len(members))
    return text if is_canonical_if_valid else _repaired(text)


def _repaired(text: str) -> str:
    try:
        repaired = canonicalize(text.strip().encode()).text
        _check_count(len(_read_object(repaired)))
    except (ValueError, RecursionError, msgspec.DecodeError) as error:
        raise _invalid(error) from None
    return repaired.decode()


def _check_count(count: int) -> None:
    if count > MAX_PROPERTIES:
        detail = f"properties: {count} of them; accepted are {MAX_PROPERTIES}"
        raise InvalidRecord("invalid_properties", detail)


def _invalid(error: Exception) -> InvalidRecord:
    detail = f"properties: {error}; accepted is a JSON object"
    return InvalidRecord("invalid_properties", detail)


@kernel
def _classify(
    starts: Int32s,
    data: Bytes,
    no_names: Int32s,
    no_name_data: Bytes,
    no_values: Int32s,
    memory: Scratch,
    states: Bytes,
) -> None:
    """Find out which texts are surely canonical, valid, and not too many properties."""
    for i in range(len(states)):
        begin, end = np.int64(starts[i]), np.int64(starts[i + 1])
        states[i] = _UNKNOWN
        if is_canonical(data, begin, end - begin, _MAX_BYTES, MAX_LEVELS, memory):
            states[i] = _CANONICAL_IF_VALID
            # No member is looked for, but the whole grammar is checked.
            if end - begin <= _SMALL and (
                find_members(data, begin, end, no_names, no_name_data, no_values, no_values) == 0
            ):
                states[i] = _CANONICAL


@register_example
def _check_one() -> None:
    check_properties(pa.array(["{}"]))
