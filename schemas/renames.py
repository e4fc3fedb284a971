"""Fields that had another name in an earlier version: found in JSON, refused or renamed.

A request that says an old name is refused with the new one. A stored definition is read as if it
had been written with the new names.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from schemas.errors import InvalidRequest

_PREVIOUS: Final = "previous"


class RenamedField(NamedTuple):
    """A field under its old name, in the JSON object `parent`, which is at `path` of a body.

    `used` says how the old name was used, where it has got another meaning since.
    """

    parent: dict[str, Any]
    path: str
    old: str
    new: str
    used: str = ""

    @property
    def refusal(self) -> InvalidRequest:
        """The answer to a request that uses the old name."""
        used = f"`{self.old}` {self.used}".rstrip()
        path = f"{self.path}.{self.old}" if self.path else self.old
        return InvalidRequest(f"{used} is called `{self.new}` now", path)


# Finds the old names in the body of a definition: a decoded JSON value, which may be anything.
FindRenamed: TypeAlias = Callable[[Any], Iterable[RenamedField]]


def refuse_old_names(body: bytes, find: FindRenamed) -> None:
    """Raise `InvalidRequest` for the first old name in the body of a request, if it has one."""
    for field in find(_decode(body)):
        raise field.refusal


def rename_fields(record: bytes, kind: str, find: FindRenamed) -> bytes | None:
    """Return a record with all old names replaced, in its `previous` too; None if it has none.

    They are in the body, which is the record's field `kind`, or in a field of the record itself
    that repeats one of the body (the rule of a segment, which the record has without references).
    """
    value = _decode(record)
    found = [field for one in _bodies(value, kind) for field in find(one)]
    for field in found:
        # With both names at once, what is meant cannot be known: decoding will refuse the old one.
        if field.new not in field.parent:
            field.parent[field.new] = field.parent.pop(field.old)
    return msgspec.json.encode(value) if found else None


def _bodies(record: Any, kind: str) -> Iterator[Any]:
    for version in (record, member(record, _PREVIOUS)):
        yield version
        yield member(version, kind)


def member(value: Any, name: str) -> Any:
    """The member of a JSON object; None if there is none, or `value` is no object."""
    return value.get(name) if isinstance(value, dict) else None


def _decode(text: bytes) -> Any:
    """The JSON value; None for what is no JSON, which decoding itself refuses."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
