"""How the values of each type lie in a block of the Native format, as far as to pass over them.

A column begins with a prefix, which lists what the values of a Dynamic or JSON column are; the
values follow. So `prefix` returns the layout that the values of this block have.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Final, Protocol

from services.store.errors import Code, StoreError
from services.store.native.cursor import Cursor, Steps
from services.store.native.types import split_type, without_name

# From this revision on, Dynamic and JSON columns do not repeat the limits of their types.
WITHOUT_LIMITS: Final = 54473

_LOW_CARDINALITY_VERSION: Final = 1
_ADDITIONAL_KEYS: Final = 0x200
_SHARED_DICTIONARY: Final = 0x100
_BASIC_VARIANT: Final = 0
_DYNAMIC_V1, _DYNAMIC_V2, _DYNAMIC_FLAT = 1, 2, 3
_JSON_V1, _JSON_TEXT, _JSON_V2, _JSON_FLAT = 0, 1, 2, 3
_SHARED: Final = b"SharedVariant"


class Layout(Protocol):
    """The way a column's values are written."""

    def prefix(self, cursor: Cursor, revision: int) -> Steps["Layout"]:
        """Pass over what precedes the values; return their layout."""

    def values(self, cursor: Cursor, rows: int) -> Steps[None]:
        """Pass over `rows` values."""


class _WithoutPrefix:
    def prefix(self, cursor: Cursor, revision: int) -> Steps[Layout]:
        del cursor, revision
        yield from ()
        return self

    def values(self, cursor: Cursor, rows: int) -> Steps[None]:
        raise NotImplementedError


class _Fixed(_WithoutPrefix):
    """Values of one width."""

    def __init__(self, width: int) -> None:
        self._width = width

    def values(self, cursor: Cursor, rows: int) -> Steps[None]:
        yield from cursor.skip(rows * self._width)


class _Strings(_WithoutPrefix):
    def values(self, cursor: Cursor, rows: int) -> Steps[None]:
        yield from cursor.skip_strings(rows)


class _Nullable:
    """A byte for each value, which says whether it is NULL; then the values."""

    def __init__(self, inner: Layout) -> None:
        self._inner = inner

    def prefix(self, cursor: Cursor, revision: int) -> Steps[Layout]:
        return _Nullable((yield from self._inner.prefix(cursor, revision)))

    def values(self, cursor: Cursor, rows: int) -> Steps[None]:
        yield from cursor.skip(rows)
        yield from self._inner.values(cursor, rows)


class _Array:
    """The number where each array ends; then the elements of all."""

    def __init__(self, inner: Layout) -> None:
        self._inner = inner

    def prefix(self, cursor: Cursor, revision: int) -> Steps[Layout]:
        return _Array((yield from self._inner.prefix(cursor, revision)))

    def values(self, cursor: Cursor, rows: int) -> Steps[None]:
        if rows:
            yield from cursor.skip(8 * (rows - 1))
            elements = yield from cursor.number()
            yield from self._inner.values(cursor, elements)


class _Tuple:
    """One column after the other; an empty tuple is a byte."""

    def __init__(self, elements: Sequence[Layout]) -> None:
        self._elements = elements or [_Fixed(1)]

    def prefix(self, cursor: Cursor, revision: int) -> Steps[Layout]:
        return _Tuple((yield from _prefixes(self._elements, cursor, revision)))

    def values(self, cursor: Cursor, rows: int) -> Steps[None]:
        for element in self._elements:
            yield from element.values(cursor, rows)


class _LowCardinality:
    """A dictionary, then for each value its number there."""

    def __init__(self, inner: Layout) -> None:
        self._inner = inner

    def prefix(self, cursor: Cursor, revision: int) -> Steps[Layout]:
        del revision
        version = yield from cursor.number()
        _expect(version == _LOW_CARDINALITY_VERSION, "LowCardinality", version)
        return self

    def values(self, cursor: Cursor, rows: int) -> Steps[None]:
        while rows:
            flags = yield from cursor.number()
            _expect(flags & _ADDITIONAL_KEYS and not flags & _SHARED_DICTIONARY, "keys", flags)
            keys = yield from cursor.number()
            yield from self._inner.values(cursor, keys)
            numbers = yield from cursor.number()
            yield from cursor.skip(numbers << (flags & 0xFF))
            rows -= numbers


class _Variant:
    """For each value the number of its type, or 255 for NULL; then the values of each type."""

    def __init__(self, variants: Sequence[Layout]) -> None:
        self._variants = variants

    def prefix(self, cursor: Cursor, revision: int) -> Steps[Layout]:
        mode = yield from cursor.number()
        _expect(mode == _BASIC_VARIANT, "Variant", mode)
        return _Variant((yield from _prefixes(self._variants, cursor, revision)))

    def values(self, cursor: Cursor, rows: int) -> Steps[None]:
        counts = [0] * len(self._variants)

        def count(piece: bytes) -> None:
            for number in range(len(counts)):
                counts[number] += piece.count(number)

        yield from cursor.see(rows, 1, count)
        for variant, own in zip(self._variants, counts, strict=True):
            yield from variant.values(cursor, own)


class _FlatDynamic(_WithoutPrefix):
    """As a Variant, with wider numbers if there are more types; NULL is the last."""

    def __init__(self, kinds: Sequence[Layout]) -> None:
        self._kinds = kinds
        self._width = next(w for w in (1, 2, 4, 8) if len(kinds) < 1 << 8 * w)

    def values(self, cursor: Cursor, rows: int) -> Steps[None]:
        counts: Counter[int] = Counter()
        count = counts.update if self._width == 1 else partial(_count, counts, self._width)
        yield from cursor.see(rows, self._width, count)
        for number, kind in enumerate(self._kinds):
            yield from kind.values(cursor, counts[number])


class _Dynamic(_WithoutPrefix):
    """The prefix lists the types that occur in the block."""

    def prefix(self, cursor: Cursor, revision: int) -> Steps[Layout]:
        version = yield from _version(cursor, revision, _DYNAMIC_V1, _DYNAMIC_V2)
        _expect(version in {_DYNAMIC_V1, _DYNAMIC_V2, _DYNAMIC_FLAT}, "Dynamic", version)
        names = yield from _texts(cursor)
        if version == _DYNAMIC_FLAT:
            layouts = [layout(name) for name in names]
            return _FlatDynamic((yield from _prefixes(layouts, cursor, revision)))
        layouts = [
            _STRINGS if name == _SHARED else layout(name) for name in sorted([*names, _SHARED])
        ]
        return (yield from _Variant(layouts).prefix(cursor, revision))


class _Json(_WithoutPrefix):
    """The prefix lists the paths that occur in the block, beside those that have a type."""

    def __init__(self, typed: Sequence[Layout]) -> None:
        self._typed = typed

    def prefix(self, cursor: Cursor, revision: int) -> Steps[Layout]:
        version = yield from _version(cursor, revision, _JSON_V1, _JSON_V2)
        if version == _JSON_TEXT:
            return _STRINGS
        _expect(version in {_JSON_V1, _JSON_V2, _JSON_FLAT}, "JSON", version)
        paths = yield from _texts(cursor)
        columns: list[Layout] = [*self._typed, *(_Dynamic() for _ in paths)]
        if version != _JSON_FLAT:
            columns.append(_SHARED_PATHS)
        return _Tuple((yield from _prefixes(columns, cursor, revision)))


def _count(counts: Counter[int], width: int, piece: bytes) -> None:
    for at in range(0, len(piece), width):
        counts[int.from_bytes(piece[at : at + width], "little")] += 1


def _prefixes(columns: Sequence[Layout], cursor: Cursor, revision: int) -> Steps[list[Layout]]:
    read: list[Layout] = []
    for column in columns:
        read.append((yield from column.prefix(cursor, revision)))  # noqa: PERF401 - it yields
    return read


def _version(cursor: Cursor, revision: int, with_limit: int, without: int) -> Steps[int]:
    """Pass over the version of a Dynamic or JSON column; write the one that `revision` has."""
    cursor.hold()
    version = yield from cursor.number()
    if version == with_limit:
        if revision >= WITHOUT_LIMITS:
            yield from cursor.varint()
            cursor.put(without.to_bytes(8, "little"))
            return without
        cursor.put(version.to_bytes(8, "little"))
        yield from cursor.varint()
        return version
    cursor.put(version.to_bytes(8, "little"))
    return version


def _texts(cursor: Cursor) -> Steps[list[bytes]]:
    texts: list[bytes] = []
    for _ in range((yield from cursor.varint())):
        texts.append((yield from cursor.text()))  # noqa: PERF401 - it yields
    return texts


def _expect(met: object, what: str, found: int) -> None:
    if not met:
        raise _unsupported(f"{what} in serialization {found}")


def _unsupported(what: str) -> StoreError:
    return StoreError(
        Code.NOT_IMPLEMENTED,
        f"{what} cannot be sent with client_protocol_version: convert the column in the query "
        "(toString, finalizeAggregation), ask for another format, or leave "
        "client_protocol_version out",
    )


_STRINGS: Final = _Strings()
_SHARED_PATHS: Final = _Array(_Tuple([_STRINGS, _STRINGS]))
_POINT: Final = _Fixed(16)
_RING: Final = _Array(_POINT)
_POLYGON: Final = _Array(_RING)
_MULTI_POLYGON: Final = _Array(_POLYGON)

_WIDTHS: Final = {
    name: width
    for width, names in {
        1: ("Int8", "UInt8", "Bool", "Enum8", "Nothing"),
        2: ("Int16", "UInt16", "BFloat16", "Enum16", "Date"),
        4: ("Int32", "UInt32", "Float32", "Date32", "DateTime", "Time", "IPv4"),
        8: ("Int64", "UInt64", "Float64", "DateTime64", "Time64"),
        16: ("Int128", "UInt128", "UUID", "IPv6"),
        32: ("Int256", "UInt256"),
    }.items()
    for name in names
}
_SIMPLE: Final[dict[bytes, Layout]] = {
    **{name.encode(): _Fixed(width) for name, width in _WIDTHS.items()},
    b"String": _STRINGS,
    b"Dynamic": _Dynamic(),
    b"Point": _POINT,
    b"MultiPoint": _RING,
    b"Ring": _RING,
    b"LineString": _RING,
    b"Polygon": _POLYGON,
    b"MultiLineString": _POLYGON,
    b"MultiPolygon": _MULTI_POLYGON,
    # LineString, MultiLineString, MultiPolygon, Point, Polygon, Ring
    b"Geometry": _Variant([_RING, _POLYGON, _MULTI_POLYGON, _POINT, _POLYGON, _RING]),
}


@lru_cache(4_096)
def layout(name: bytes) -> Layout:
    """Return the layout of the type `name`.

    Raises:
        StoreError: NOT_IMPLEMENTED for a type whose values do not say how long they are.
    """
    try:
        family, arguments = split_type(name)
        if family in _SIMPLE:
            return _SIMPLE[family]
        if family.startswith(b"Interval"):
            return _Fixed(8)
        if family in _WITH_ARGUMENTS:
            return _WITH_ARGUMENTS[family](arguments)
    except (ValueError, IndexError) as error:
        raise _unsupported(f"The type {name.decode(errors='replace')} ({error})") from error
    raise _unsupported(f"The type {name.decode(errors='replace')}")


def _low_cardinality(arguments: list[bytes]) -> Layout:
    family, inner = split_type(arguments[0])
    return _LowCardinality(layout(inner[0] if family == b"Nullable" else arguments[0]))


def _decimal(arguments: list[bytes]) -> Layout:
    digits = int(arguments[0])
    return _Fixed(
        next(width for most, width in ((9, 4), (18, 8), (38, 16), (76, 32)) if digits <= most)
    )


def _elements(arguments: list[bytes]) -> Layout:
    return _Tuple([layout(without_name(argument)) for argument in arguments])


def _qbit(arguments: list[bytes]) -> Layout:
    """Return the layout of one bit of each element, then the next bit of each."""
    if len(arguments) != 2:
        raise ValueError("with a stride")
    bits = 8 * _WIDTHS[arguments[0].decode()]
    return _Fixed(bits * ((int(arguments[1]) + 7) // 8))


def _json(arguments: list[bytes]) -> Layout:
    options = (b"SKIP ", b"max_dynamic_paths=", b"max_dynamic_types=")
    typed = [argument for argument in arguments if not argument.startswith(options)]
    return _Json([layout(without_name(argument)) for argument in typed])


_WITH_ARGUMENTS: Final[dict[bytes, Callable[[list[bytes]], Layout]]] = {
    b"FixedString": lambda arguments: _Fixed(int(arguments[0])),
    b"Decimal": _decimal,
    b"Nullable": lambda arguments: _Nullable(layout(arguments[0])),
    b"Array": lambda arguments: _Array(layout(arguments[0])),
    b"LowCardinality": _low_cardinality,
    b"Tuple": _elements,
    b"Nested": lambda arguments: _Array(_elements(arguments)),
    b"Map": lambda arguments: _Array(_elements(arguments)),
    b"Variant": lambda arguments: _Variant([layout(argument) for argument in arguments]),
    b"SimpleAggregateFunction": lambda arguments: layout(arguments[1]),
    b"QBit": _qbit,
    b"JSON": _json,
}
