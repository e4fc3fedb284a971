"""Strict validation of a single Avro datum, with the place and reason of what is wrong.

It is for datums that a faster decoder has refused or not reproduced. Refused are bytes after the
datum, numbers out of the range of their type, indexes out of range, text that is not UTF-8, and
more items than bytes are left. It is slow (about 10 µs a record) and has no side effects.
"""

from typing import Final

from schemas.avro.schema import Tree, kind, least_bytes, resolved

_MAX_DEPTH: Final = 64


class Malformed(ValueError):
    """The bytes are not a datum of the schema; the text says where and why."""


def check(data: bytes, tree: Tree, named: dict[str, Tree]) -> None:
    """Check that `data` is exactly one datum of the schema `tree`, whose named types are `named`.

    Raises:
        Malformed: it is not.
    """
    end = _Walk(data, named).value(0, tree, "", 0)
    if end != len(data):
        raise Malformed(f"{len(data) - end} bytes follow the datum")


class _Walk:
    """Steps over values of `data`: a method gets the offset of one, and returns the next."""

    def __init__(self, data: bytes, named: dict[str, Tree]) -> None:
        self._data = data
        self._named = named

    def value(self, at: int, tree: Tree, path: str, depth: int) -> int:
        if depth > _MAX_DEPTH:
            raise Malformed(f"{path}: nested more than {_MAX_DEPTH} levels deep")
        tree = resolved(tree, self._named)
        match kind(tree):
            case "null":
                return at
            case "boolean":
                end = self._skip(at, 1, path)
                if self._data[at] > 1:
                    raise Malformed(f"{path}: {self._data[at]} is not a boolean")
                return end
            case "int":
                return self._number(at, path, 32)[1]
            case "long":
                return self._number(at, path)[1]
            case "float":
                return self._skip(at, 4, path)
            case "double":
                return self._skip(at, 8, path)
            case "bytes":
                return self._text(at, path)[1]
            case "string":
                return self._string(at, path)
            case "fixed":
                return self._skip(at, tree["size"], path)
            case "enum":
                return self._index(at, len(tree["symbols"]), path)[1]
            case "union":
                index, at = self._index(at, len(tree), path)
                return self.value(at, tree[index], path, depth + 1)
            case "array":
                return self._blocks(at, tree["items"], path, depth, keyed=False)
            case "map":
                return self._blocks(at, tree["values"], path, depth, keyed=True)
            case _:
                for field in tree["fields"]:
                    inside = f"{path}.{field['name']}" if path else field["name"]
                    at = self.value(at, field["type"], inside, depth + 1)
                return at

    def _number(self, at: int, path: str, bits: int = 64) -> tuple[int, int]:
        raw = 0
        for position in range(10):
            if at >= len(self._data):
                raise Malformed(f"{path}: the datum ends inside it")
            byte = self._data[at]
            at += 1
            raw |= (byte & 0x7F) << (7 * position)
            if byte < 0x80:
                break
        else:
            raise Malformed(f"{path}: a number of more than 10 bytes")
        if raw >= 1 << bits:
            raise Malformed(f"{path}: a number of more than {bits} bits")
        return (raw >> 1) ^ -(raw & 1), at

    def _skip(self, at: int, size: int, path: str) -> int:
        left = len(self._data) - at
        if size > left:
            raise Malformed(f"{path}: {size} bytes declared, {left} left")
        return at + size

    def _text(self, at: int, path: str) -> tuple[int, int]:
        size, at = self._number(at, path)
        if size < 0:
            raise Malformed(f"{path}: {size} is not a length")
        return at, self._skip(at, size, path)

    def _string(self, at: int, path: str) -> int:
        start, end = self._text(at, path)
        try:
            self._data[start:end].decode()
        except UnicodeDecodeError as error:
            raise Malformed(f"{path}: not UTF-8 at byte {error.start}: {error.reason}") from None
        return end

    def _index(self, at: int, count: int, path: str) -> tuple[int, int]:
        index, at = self._number(at, path)
        if not 0 <= index < count:
            raise Malformed(f"{path}: index {index} of {count} choices")
        return index, at

    def _blocks(self, at: int, item: Tree, path: str, depth: int, *, keyed: bool) -> int:
        if not keyed and not least_bytes(item, self._named):
            raise Malformed(f"{path}: arrays of items without bytes are not supported")
        while True:
            count, at = self._number(at, path)
            if count == 0:
                return at
            end = None
            if count < 0:
                size, at = self._number(at, path)
                count = -count
                end = at + size
            left = len(self._data) - at
            if count > left:
                raise Malformed(f"{path}: {count} items declared, {left} bytes left")
            for _ in range(count):
                if keyed:
                    at = self._string(at, path)
                at = self.value(at, item, path, depth + 1)
            if end is not None and at != end:
                raise Malformed(f"{path}: a block does not have its declared length")
