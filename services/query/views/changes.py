"""Records of the definitions topic, decoded into what they change."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import msgspec
import structlog
from confluent_kafka import Message

from schemas import alerts, annotations, dashboards, flags, plans
from schemas.definitions import NO_PREVIOUS, Definition, decode_with, parse_key
from schemas.notices import subscription
from schemas.operators import OPERATORS

log = structlog.get_logger(__name__)

# Headers of a tombstone with what it ended, so that the next definition of the same id has another
# version and revision: results of an ended version may still be on their topic.
_VERSION: Final = "version"
_REVISION: Final = "revision"

_DECODERS: Final[Mapping[str, Callable[[bytes], Definition]]] = {
    **{spec.name: spec.decode for spec in OPERATORS},
    "plan": plans.decode,
    "dashboard": dashboards.decode,
    "annotation": annotations.decode,
    "subscription": subscription.decode,
    "alert": alerts.decode,
    "flag": flags.decode,
}


class Key(NamedTuple):
    """The name of a definition among those of its kind."""

    project_id: str
    id: str


class Numbers(NamedTuple):
    """How often a definition has changed: in what it counts, and in any way."""

    version: int = 0
    revision: int = 0

    def next(self) -> "Numbers":
        """Return the numbers of a definition that follows, and counts something else."""
        return Numbers(self.version + 1, self.revision + 1)


class Unreadable(NamedTuple):
    """A definition that this version of the product cannot read, and why."""

    reason: str


class Change(NamedTuple):
    """A definition that a record has made new, deleted (None) or unreadable.

    `numbers` are those of the definition that is unreadable, or that the tombstone ended, as far as
    they are known.
    """

    kind: str
    key: Key
    definition: Definition | Unreadable | None
    numbers: Numbers = Numbers()


def read_changes(messages: list[Message]) -> list[Change]:
    """Decode records of the definitions topic, without those of other kinds.

    Pure but for a line in the log for each that cannot be read.
    """
    changes = []
    for message in messages:
        try:
            project_id, kind, name = parse_key(message.key() or b"")
        except ValueError as error:
            _log_unreadable(message, error)
            continue
        if kind in _DECODERS:
            changes.append(_read_change(message, kind, Key(project_id, name)))
    return changes


def _read_change(message: Message, kind: str, key: Key) -> Change:
    value = message.value()
    if value is None:
        return Change(kind, key, None, _numbers_ended(message))
    try:
        return Change(kind, key, _DECODERS[kind](value))
    except msgspec.DecodeError as error:
        _log_unreadable(message, error)
        return Change(kind, key, Unreadable(str(error)), _numbers_of(value))


def _log_unreadable(message: Message, error: Exception) -> None:
    key, offset = message.key(), message.offset()
    log.error("definition_unreadable", key=key, offset=offset, reason=str(error))


def tombstone_headers(numbers: Numbers) -> dict[str, bytes]:
    """Return the headers of a tombstone that ends a definition with these numbers."""
    return {_VERSION: str(numbers.version).encode(), _REVISION: str(numbers.revision).encode()}


def _numbers_ended(message: Message) -> Numbers:
    headers = message.headers() or []
    texts = dict(headers.items() if isinstance(headers, dict) else headers)
    try:
        version = int(texts.get(_VERSION) or 0)
        return Numbers(version, int(texts.get(_REVISION) or version))
    except ValueError:
        return Numbers()


class _Numbered(msgspec.Struct):
    version: int = 0
    revision: int = 0


def _numbers_of(value: bytes) -> Numbers:
    """Read the numbers of a record of which the rest cannot be read; 0 if not even those can."""
    try:
        read = decode_with(_numbered, value)
    except msgspec.DecodeError:
        return Numbers()
    return Numbers(read.version, read.revision or read.version)


_numbered: Final = msgspec.json.Decoder(_Numbered)


def has_previous(definition: Definition) -> bool:
    """Whether an earlier version still counts for this one."""
    return bytes(definition.previous) != bytes(NO_PREVIOUS)
