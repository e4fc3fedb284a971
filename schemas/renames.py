"""Renamed fields of definitions.

A request that uses an old name is refused with the new one. A stored definition with old names is
read as if it had been written with the new ones.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from schemas.errors import InvalidRequest

_PREVIOUS: Final = "previous"


class RenamedField(NamedTuple):
    """A field under its old name: in the JSON object `parent`, at `path` of a body.

    `used` says how the old name was used, if it has another meaning now.
    """

    parent: dict[str, Any]
    path: str
    old: str
    new: str
    used: str = ""

    @property
    def refusal(self) -> InvalidRequest:
        """The error for a request that uses the old name."""
        used = f"`{self.old}` {self.used}".rstrip()
        path = f"{self.path}.{self.old}" if self.path else self.old
        return InvalidRequest(f"{used} is called `{self.new}` now", path)


# Finds the old names in the body of a definition, which may be any JSON value.
FindRenamed: TypeAlias = Callable[[Any], Iterable[RenamedField]]


def refuse_old_names(body: bytes, find: FindRenamed) -> None:
    """Raise `InvalidRequest` for the first old name in the body of a request, if there is one."""
    for field in find(_decode(body)):
        raise field.refusal


def rename_fields(record: bytes, kind: str, find: FindRenamed) -> bytes | None:
    """Return a record with all old names replaced, also in `previous`; None if it has none.

    The body is the record's field `kind`. Fields of the record itself that have the name of one of
    the body (the rule of a segment, without references) are renamed alike.
    """
    value = _decode(record)
    found = [field for one in _bodies(value, kind) for field in find(one)]
    for field in found:
        # With both names at once the meaning is unclear: decoding then refuses the old one.
        if field.new not in field.parent:
            field.parent[field.new] = field.parent.pop(field.old)
    return msgspec.json.encode(value) if found else None


def _bodies(record: Any, kind: str) -> Iterator[Any]:
    for version in (record, member(record, _PREVIOUS)):
        yield version
        yield member(version, kind)


def member(value: Any, name: str) -> Any:
    """Return a member of a JSON object; None if it is absent, or `value` is not an object."""
    return value.get(name) if isinstance(value, dict) else None


def _decode(text: bytes) -> Any:
    """Return the JSON value; None for invalid JSON, which the caller's own decoding refuses."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
