"""The definitions as they are stored, and what they look for in events.

It follows the definitions topic. Records of kinds without an operator are none of its business.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import structlog
from confluent_kafka import Message

from pipelines.columnar.key_index import KeyIndex
from pipelines.columnar.string_column import StringColumn
from pipelines.engine.events import Events, MatchedEvents
from pipelines.engine.instance import key_of, tag_of
from pipelines.engine.operator import AnyOperator
from pipelines.matching.match import DefinitionId, Key
from pipelines.matching.matcher import Matcher, Selection
from schemas.definitions import NO_PREVIOUS, Definition, parse_key
from schemas.follower import TopicReader

log = structlog.get_logger(__name__)


class Entry(NamedTuple):
    """A definition in the catalog, and its operator."""

    operator: AnyOperator
    definition: Definition


class DefinitionCatalog:
    """The definitions of some operators. `follow` updates it; everything else is as of then.

    A definition that changes may count on in its previous version until the new one has caught up
    with history: then both are in the catalog.

    Attributes:
        unreadable: the definitions of which a record cannot be read, and why.
        superseding: the versions for which a previous one still counts.
    """

    def __init__(self, operators: Sequence[AnyOperator], reader: TopicReader) -> None:
        self._operators = {operator.name: operator for operator in operators}
        self._reader = reader
        self._entries: dict[Key, Entry] = {}
        self.unreadable: dict[DefinitionId, str] = {}
        self.superseding: set[Key] = set()
        self._some: tuple[frozenset[Key], Matcher] | None = None  # of those asked for last
        self._compile()

    def __iter__(self) -> Iterator[Key]:
        return iter(self._entries)

    def __getitem__(self, key: Key) -> Entry:
        return self._entries[key]

    def get(self, key: Key) -> Entry | None:
        """Return the entry of a key, None if there is none."""
        return self._entries.get(key)

    @property
    def caught_up(self) -> bool:
        """Whether all that was on the topic when reading began has been read."""
        return self._reader.caught_up

    def follow(self, timeout_s: float = 0) -> bool:
        """Read new records, for up to `timeout_s`; return whether anything counts otherwise now.

        A change of what is only displayed, as of a name, is none.
        """
        before = self._counted()
        for message in self._reader.poll(timeout_s):
            self._take(message)
        after = self._counted()
        if before[0] != after[0]:
            self._compile()
        return before != after

    def _counted(self) -> tuple[dict[Key, int], dict[DefinitionId, str], set[Key]]:
        tags = {key: int(tag_of(definition)) for key, (_, definition) in self._entries.items()}
        return tags, dict(self.unreadable), set(self.superseding)

    def _take(self, message: Message) -> None:
        key = message.key() or b""
        try:
            project, name, id_ = parse_key(key)
        except ValueError as error:
            log.error("not a definition", key=key, reason=str(error))
            return
        operator = self._operators.get(name)
        if operator is None:
            return
        of = DefinitionId(name, project, id_)
        for version in [version for version in self._entries if version.definition == of]:
            del self._entries[version]
            self.superseding.discard(version)
        self.unreadable.pop(of, None)
        value = message.value()
        if value is not None:
            try:
                self._add(of, operator, value)
            except Exception as error:  # noqa: BLE001 (an operator may raise anything)
                self.unreadable[of] = f"its definition cannot be read: {error}"
                log.error("definition cannot be read", key=key, reason=str(error))

    def _add(self, of: DefinitionId, operator: AnyOperator, value: bytes) -> None:
        definition = operator.spec.decode(value)
        key = key_of(definition)
        if key.definition != of:
            raise msgspec.DecodeError(f"it is stored under the key of another, {'/'.join(of)}")
        self._entries[key] = Entry(operator, definition)
        if bytes(definition.previous) != bytes(NO_PREVIOUS):
            self.superseding.add(key)
            previous = operator.spec.previous(definition)
            assert previous is not None
            self._entries.setdefault(key_of(previous), Entry(operator, previous))

    # ── matching ─────────────────────────────────────────────────────────────────────────────────

    def match(self, events: Events, only: frozenset[Key] | None = None) -> MatchedEvents:
        """Find the events that each definition looks at, or each of `only` some."""
        matcher = self._matcher if only is None else self._matcher_of_some(only)
        found = matcher.match(events.projects, events.names, events.properties)
        return MatchedEvents(events, found.matches, self._clock_offsets(events), found.failures)

    def _matcher_of_some(self, keys: frozenset[Key]) -> Matcher:
        if self._some is None or self._some[0] != keys:
            self._some = keys, self._matcher_of(keys)
        return self._some[1]

    def _clock_offsets(self, events: Events) -> dict[str, int]:
        """Return how far each project's newest event is ahead of its record (ms)."""
        ahead = events.at - events.record_times
        codes = self._project_index.find(
            events.projects, StringColumn.empty(len(ahead)), np.arange(len(ahead))
        )
        return {
            self._projects[code]: int(ahead[codes == code].max())
            for code in np.unique(codes[codes >= 0]).tolist()
        }

    def _compile(self) -> None:
        self._matcher = self._matcher_of(self._entries)
        self._some = None
        self._projects = sorted({key.project for key in self._entries})
        self._project_index = KeyIndex()
        names = StringColumn.of(pa.array(self._projects, pa.string()))
        places = np.arange(len(self._projects))
        self._project_index.intern(names, StringColumn.empty(len(places)), places)

    def _matcher_of(self, keys: Collection[Key]) -> Matcher:
        selections, failures = [], {}
        for key, (operator, definition) in self._entries.items():
            if key in keys:
                try:
                    selectors, reads = operator.selectors(definition), operator.reads(definition)
                    selections.append(Selection(key, selectors, reads))
                except Exception as error:  # noqa: BLE001 (an operator may raise anything)
                    failures[key] = error
        return Matcher(selections, failures)
