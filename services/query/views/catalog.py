"""The view of the definitions topic: what is defined, and at which version."""

from collections.abc import Sequence
from typing import Generic, TypeVar, cast

from schemas.definitions import Definition, Kind
from schemas.errors import Conflict, NotFound
from services.query.views.changes import Change, Key, Numbers, Unreadable, has_previous

D = TypeVar("D", bound=Definition)


class Definitions(Generic[D]):
    """The current definitions of one kind, by project and id; for one thread."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._projects: dict[str, dict[str, D]] = {}
        self._unreadable: dict[Key, Unreadable] = {}
        self._replacing: dict[Key, None] = {}  # a set in the order of the topic
        # Of the definitions that cannot be read, or have ended.
        self._numbers: dict[Key, Numbers] = {}

    def apply(self, changes: Sequence[Change]) -> None:
        """Take in what is of this kind, in the topic's order; repeating it changes nothing."""
        for kind, key, definition, numbers in changes:
            if kind != self._kind:
                continue
            held = self._projects.setdefault(key.project_id, {})
            known = self.numbers(key)
            self._unreadable.pop(key, None)
            self._replacing.pop(key, None)
            if isinstance(definition, Definition):
                held[key.id] = cast(D, definition)
                if has_previous(definition):
                    self._replacing[key] = None
            else:
                held.pop(key.id, None)
                self._numbers[key] = Numbers(*map(max, known, numbers))
                if definition is not None:
                    self._unreadable[key] = definition

    def get(self, key: Key) -> D:
        """Return a definition.

        Raises:
            NotFound: there is none.
            Conflict: it cannot be read.
        """
        definition = self.find(key)
        if definition is not None:
            return definition
        unreadable = self.unreadable(key)
        if unreadable is None:
            raise NotFound(f"project {key.project_id} has no {self._kind} {key.id}")
        raise Conflict(
            f"the {self._kind} {key.id} cannot be read: {unreadable.reason}; replace or delete it"
        )

    def find(self, key: Key) -> D | None:
        """Return a definition if there is one that can be read."""
        return self._projects.get(key.project_id, {}).get(key.id)

    def unreadable(self, key: Key) -> Unreadable | None:
        """Return why a definition cannot be read, if that is so."""
        return self._unreadable.get(key)

    def numbers(self, key: Key) -> Numbers:
        """Return the numbers of the present definition, or of the last one that there was."""
        definition = self.find(key)
        if definition is None:
            return self._numbers.get(key, Numbers())
        return Numbers(definition.version, definition.revision)

    def replacing(self) -> list[D]:
        """Return the definitions for which their previous version still counts."""
        return [definition for key in self._replacing if (definition := self.find(key))]

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
