"""The view of the definitions topic: which funnels there are, and at which version."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import structlog
from confluent_kafka import Message

from schemas.definitions import FunnelDefinition, decode, parse_key
from schemas.errors import NotFound

log = structlog.get_logger(__name__)

# A tombstone's header that says which version it ended, so that the next one of the same id is not
# mistaken for it: results of an ended version may still be on their topic.
ENDED_VERSION: Final = "version"


class Key(NamedTuple):
    """What a funnel is known by."""

    project_id: str
    funnel_id: str


class Change(NamedTuple):
    """A funnel's new definition; None if it was deleted, and the version that was then."""

    key: Key
    definition: FunnelDefinition | None
    ended_version: int = 0


class Definitions:
    """The funnels as they stand, by project and id; for one thread."""

    def __init__(self) -> None:
        self._projects: dict[str, dict[str, FunnelDefinition]] = {}
        self._ended: dict[Key, int] = {}

    def apply(self, changes: Sequence[Change]) -> None:
        """Take in changes in the order of the topic; applying some again changes nothing."""
        for key, definition, ended_version in changes:
            funnels = self._projects.setdefault(key.project_id, {})
            if definition is None:
                before = funnels.pop(key.funnel_id, None)
                ended = max(ended_version, before.version if before else 0)
                self._ended[key] = max(ended, self._ended.get(key, 0))
            else:
                funnels[key.funnel_id] = definition

    def get(self, key: Key) -> FunnelDefinition:
        """Return a funnel.

        Raises:
            NotFound: there is none.
        """
        definition = self.find(key)
        if definition is None:
            raise NotFound(f"project {key.project_id} has no funnel {key.funnel_id}")
        return definition

    def find(self, key: Key) -> FunnelDefinition | None:
        """Return a funnel if there is one."""
        return self._projects.get(key.project_id, {}).get(key.funnel_id)

    def next_version(self, key: Key) -> int:
        """Return the version that the next definition of a funnel must have."""
        definition = self.find(key)
        return 1 + (definition.version if definition else self._ended.get(key, 0))

    def count(self, project_id: str) -> int:
        """Return how many funnels a project has."""
        return len(self._projects.get(project_id, {}))

    def page(self, project_id: str, after: str, limit: int) -> list[FunnelDefinition]:
        """Return up to `limit` funnels of a project whose ids come after `after`, by id."""
        funnels = self._projects.get(project_id, {})
        return [funnels[name] for name in sorted(name for name in funnels if name > after)[:limit]]


def read_changes(messages: list[Message]) -> list[Change]:
    """Decode records of the definitions topic; those of other kinds and unreadable ones are not in.

    Pure but for a line in the log for each that cannot be read.
    """
    changes = []
    for message in messages:
        key, value = message.key(), message.value()
        try:
            project_id, kind, funnel_id = parse_key(key or b"")
            if kind != "funnel":
                continue
            definition = None if value is None else decode(value)
        except (ValueError, msgspec.DecodeError) as error:
            log.error("definition left out", key=key, offset=message.offset(), reason=str(error))
            continue
        ended = _ended_version(message) if definition is None else 0
        changes.append(Change(Key(project_id, funnel_id), definition, ended))
    return changes


def _ended_version(message: Message) -> int:
    headers = message.headers() or []
    items = headers.items() if isinstance(headers, dict) else headers
    texts = [value for name, value in items if name == ENDED_VERSION]
    try:
        return int(texts[-1] or 0) if texts else 0
    except ValueError:
        return 0
