"""A position in a stream of bytes that is copied to an output, with insertions on the way.

Readers are generators: each `yield` asks for more bytes, so that a column may be longer than what
has arrived. Bytes are copied in whole slices; no more than one chunk is ever held.
"""

from collections.abc import Callable, Generator
from typing import TypeVar

T = TypeVar("T")
# A reader; it yields whenever it needs more bytes.
Steps = Generator[None, None, T]


class Cursor:
    """The bytes that have arrived, how far they are read, and what has been written for them."""

    def __init__(self) -> None:
        self._bytes = b""
        self._at = 0
        self._copied = 0
        self._held = False
        self._output: list[bytes] = []

    def add(self, data: bytes) -> None:
        """Append `data` to what can be read."""
        self._bytes = self._bytes[self._copied :] + data
        self._at -= self._copied
        self._copied = 0

    def written(self) -> bytes:
        """Return the output since the last call."""
        if not self._held:
            self._copy()
        output, self._output = self._output, []
        return b"".join(output)

    def rest(self) -> bytes:
        """Return the bytes that have arrived and are not copied yet."""
        return self._bytes[self._copied :]

    def hold(self) -> None:
        """Copy none of the bytes that are read from here on, until `put`."""
        self._copy()
        self._held = True

    def put(self, data: bytes) -> None:
        """Write `data` instead of the bytes that were read since `hold`."""
        self._output.append(data)
        self._copied = self._at
        self._held = False

    def begins(self) -> Steps[None]:
        """Wait until there is a byte to be read."""
        while self._at == len(self._bytes):
            yield

    def take(self, size: int) -> Steps[bytes]:
        """Read `size` bytes, which are few."""
        while len(self._bytes) - self._at < size:
            yield
        start, self._at = self._at, self._at + size
        return self._bytes[start : self._at]

    def number(self, width: int = 8) -> Steps[int]:
        """Read a little-endian integer of `width` bytes."""
        taken = yield from self.take(width)
        return int.from_bytes(taken, "little")

    def varint(self) -> Steps[int]:
        """Read a LEB128 integer."""
        value = shift = 0
        while True:
            [byte] = yield from self.take(1)
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    def text(self) -> Steps[bytes]:
        """Read a string, which is short: a name or a type."""
        size = yield from self.varint()
        return (yield from self.take(size))

    def skip(self, size: int) -> Steps[None]:
        """Pass over `size` bytes."""
        while size > (there := len(self._bytes) - self._at):
            size -= there
            self._at += there
            yield
        self._at += size

    def skip_strings(self, count: int) -> Steps[None]:
        """Pass over `count` strings, each behind its length."""
        while count:
            count -= self._skip_whole_strings(count)
            if count:  # this one is cut by the end of what has arrived
                size = yield from self.varint()
                yield from self.skip(size)
                count -= 1

    def see(self, count: int, width: int, look: Callable[[bytes], None]) -> Steps[None]:
        """Pass over `count` numbers of `width` bytes, and show them to `look` piece by piece."""
        while count:
            there = min(count, (len(self._bytes) - self._at) // width)
            if not there:
                yield
                continue
            start, self._at = self._at, self._at + there * width
            look(self._bytes[start : self._at])
            count -= there

    def _skip_whole_strings(self, count: int) -> int:
        data, at, end = self._bytes, self._at, len(self._bytes)
        for skipped in range(count):  # noqa: B007 - returned after the loop
            body = at + 1
            if body > end:
                break
            size = data[at]
            if size > 127:
                if body == end or data[body] > 127:
                    break
                size = size & 127 | data[body] << 7
                body += 1
            if body + size > end:
                break
            at = body + size
        else:
            skipped = count
        self._at = at
        return skipped

    def _copy(self) -> None:
        if self._copied < self._at:
            self._output.append(self._bytes[self._copied : self._at])
            self._copied = self._at
