"""The framing of Native blocks that a client asks for with `client_protocol_version`.

The engine writes blocks as for revision 0. A newer revision has more before each block and after
each type; so the columns are passed over, and that is inserted.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from services.store.errors import Code, StoreError
from services.store.native.cursor import Cursor, Steps
from services.store.native.layouts import layout

# The revisions that changed the framing
_WITH_TIME_ZONES: Final = 54337
_WITH_LOW_CARDINALITY: Final = 54405
_WITH_KIND_OF_SERIALIZATION: Final = 54454
_WITH_BUCKETS: Final = 54480

_BLOCK_INFO: Final = b"\x01\x00\x02\xff\xff\xff\xff\x00"
_BLOCK_INFO_WITH_BUCKETS: Final = b"\x01\x00\x02\xff\xff\xff\xff\x03\x00\x00"
_DEFAULT_SERIALIZATION: Final = b"\x00"
_INLINE_BYTES: Final = 64 << 10


class Framing(Protocol):
    """Frames a result while it streams."""

    settled: bool  # whether the part that may be refused has passed

    async def frame(self, data: bytes) -> bytes:
        """Add `data`; return what can be sent."""

    def finish(self) -> bytes:
        """Return what is left of a result that ended in the middle of a block."""


class NoFraming:
    """The framing of revision 0, which is the engine's own."""

    settled = True

    async def frame(self, data: bytes) -> bytes:
        """Return `data`."""
        return data

    def finish(self) -> bytes:
        """Return nothing: no bytes are held."""
        return b""


class NativeFraming:
    """The framing of `revision`, which is above 0.

    `column_types` returns the types of the result's columns with their time zones, or nothing if
    they cannot be known. It is asked at most once, if there is a column of the type DateTime.
    """

    def __init__(
        self, revision: int, column_types: Callable[[], Awaitable[Sequence[bytes]]]
    ) -> None:
        self.settled = False
        self._revision = revision
        self._column_types = column_types
        self._types: Sequence[bytes] | None = None
        self._asks = False
        self._cursor = Cursor()
        self._steps = self._blocks()

    async def frame(self, data: bytes) -> bytes:
        """Add `data`; return what can be sent.

        Raises:
            StoreError: NOT_IMPLEMENTED for a type that cannot be framed; until the first block has
                passed (`settled`), nothing of it should be sent.
        """
        self._cursor.add(data)
        while True:
            if len(data) > _INLINE_BYTES:
                await asyncio.to_thread(self._step)
            else:
                self._step()
            if not self._asks:
                return self._cursor.written()
            self._types = await self._column_types()
            self._asks = False

    def finish(self) -> bytes:
        """Return what is left of a result that ended in the middle of a block."""
        return self._cursor.rest()

    def _step(self) -> None:
        try:
            next(self._steps)
        except RecursionError as error:
            raise StoreError(
                Code.NOT_IMPLEMENTED,
                "Types nested this deep cannot be sent with client_protocol_version",
            ) from error

    def _blocks(self) -> Steps[None]:
        cursor = self._cursor
        info = _BLOCK_INFO_WITH_BUCKETS if self._revision >= _WITH_BUCKETS else _BLOCK_INFO
        while True:
            yield from cursor.begins()
            cursor.hold()
            cursor.put(info)
            columns = yield from cursor.varint()
            rows = yield from cursor.varint()
            for number in range(columns):
                yield from cursor.skip_strings(1)
                yield from self._column(number, rows)
            self.settled = True

    def _column(self, number: int, rows: int) -> Steps[None]:
        cursor = self._cursor
        cursor.hold()
        name = yield from cursor.text()
        if self._revision < _WITH_LOW_CARDINALITY and b"LowCardinality(" in name:
            raise StoreError(
                Code.NOT_IMPLEMENTED,
                f"{name.decode(errors='replace')} needs a client_protocol_version of at least "
                f"{_WITH_LOW_CARDINALITY}, or none",
            )
        column = layout(name)
        if name == b"DateTime" and self._revision >= _WITH_TIME_ZONES:
            name = yield from self._with_time_zone(number)
        kind = _DEFAULT_SERIALIZATION if self._revision >= _WITH_KIND_OF_SERIALIZATION else b""
        cursor.put(_varint(len(name)) + name + kind)
        if rows:
            values = yield from column.prefix(cursor, self._revision)
            yield from values.values(cursor, rows)

    def _with_time_zone(self, number: int) -> Steps[bytes]:
        """Return the type of a DateTime column, whose time zone revision 0 leaves out."""
        if self._types is None:
            self._asks = True
            yield
        known = self._types[number : number + 1] if self._types else []
        return known[0] if known and known[0].startswith(b"DateTime(") else b"DateTime"


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])
