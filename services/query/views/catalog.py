"""The view of the definitions topic: what is defined, and at which version."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, NamedTuple, TypeVar, cast

import msgspec
import structlog
from confluent_kafka import Message

from schemas import plans
from schemas.definitions import Definition, Kind, parse_key
from schemas.errors import NotFound
from schemas.operators import OPERATORS

log = structlog.get_logger(__name__)

# A tombstone's header with the version that it ended, so that the next one of the same id has
# another: results of an ended version may still be on their topic.
ENDED_VERSION: Final = "version"

D = TypeVar("D", bound=Definition)

_DECODERS: Final[Mapping[str, Callable[[bytes], Definition]]] = {
    **{spec.name: spec.decode for spec in OPERATORS},
    "plan": plans.decode,
}


class Key(NamedTuple):
    """What names a definition among those of its kind."""

    project_id: str
    id: str


class Change(NamedTuple):
    """A new definition; None if it was deleted, and the version that was deleted."""

    kind: str
    key: Key
    definition: Definition | None
    ended_version: int = 0


class Definitions(Generic[D]):
    """The current definitions of one kind, by project and id; for one thread."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._projects: dict[str, dict[str, D]] = {}
        self._ended: dict[Key, int] = {}

    def apply(self, changes: Sequence[Change]) -> None:
        """Take in what is of this kind, in the topic's order; repeating it changes nothing."""
        for kind, key, definition, ended_version in changes:
            if kind != self._kind:
                continue
            held = self._projects.setdefault(key.project_id, {})
            if definition is None:
                before = held.pop(key.id, None)
                ended = max(ended_version, before.version if before else 0)
                self._ended[key] = max(ended, self._ended.get(key, 0))
            else:
                held[key.id] = cast(D, definition)

    def get(self, key: Key) -> D:
        """Return a definition.

        Raises:
            NotFound: there is none.
        """
        definition = self.find(key)
        if definition is None:
            raise NotFound(f"project {key.project_id} has no {self._kind} {key.id}")
        return definition

    def find(self, key: Key) -> D | None:
        """Return a definition if there is one."""
        return self._projects.get(key.project_id, {}).get(key.id)

    def next_version(self, key: Key) -> int:
        """Return the version that the next definition of that key must have."""
        definition = self.find(key)
        return 1 + (definition.version if definition else self._ended.get(key, 0))

    def of(self, project_id: str) -> list[D]:
        """Return all definitions of a project."""
        return list(self._projects.get(project_id, {}).values())

    def all(self) -> list[D]:
        """Return the definitions of all projects."""
        return [definition for held in self._projects.values() for definition in held.values()]

    def ids(self, project_id: str) -> list[str]:
        """Return the ids of a project's definitions."""
        return list(self._projects.get(project_id, {}))

    def page(self, project_id: str, after: str, limit: int) -> list[D]:
        """Return up to `limit` of a project's definitions whose ids come after `after`, by id."""
        held = self._projects.get(project_id, {})
        return [held[name] for name in sorted(name for name in held if name > after)[:limit]]


def read_changes(messages: list[Message]) -> list[Change]:
    """Decode records of the definitions topic, without those of other kinds.

    Pure but for a line in the log for each that cannot be read, which is left out.
    """
    changes = []
    for message in messages:
        key, value = message.key(), message.value()
        try:
            project_id, kind, name = parse_key(key or b"")
            decode = _DECODERS.get(kind)
            if decode is None:
                continue
            definition = None if value is None else decode(value)
        except (ValueError, msgspec.DecodeError) as error:
            log.error("definition_unreadable", key=key, offset=message.offset(), reason=str(error))
            continue
        ended = _ended_version(message) if definition is None else 0
        changes.append(Change(kind, Key(project_id, name), definition, ended))
    return changes


def _ended_version(message: Message) -> int:
    headers = message.headers() or []
    items = headers.items() if isinstance(headers, dict) else headers
    texts = [value for name, value in items if name == ENDED_VERSION]
    try:
        return int(texts[-1] or 0) if texts else 0
    except ValueError:
        return 0
