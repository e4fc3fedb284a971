"""The definitions as they are stored, and the events that they select.

The catalog follows the definitions topic. It skips records of kinds that no operator evaluates.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple

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
from schemas.definitions import NO_PREVIOUS, Definition, decode_with, parse_key
from schemas.follower import TopicReader

log = structlog.get_logger(__name__)

_MAX_MATCHERS: Final = 8  # of some definitions: of a backfill, and of the recounts that are running


class Entry(NamedTuple):
    """A definition in the catalog, and its operator."""

    operator: AnyOperator
    definition: Definition
    tag: int  # see `tag_of`


class Unreadable(NamedTuple):
    """Why a definition's record cannot be read; its version, if that much can be read."""

    reason: str
    version: int | None


class _Header(msgspec.Struct):
    version: int


_header_decoder: Final = msgspec.json.Decoder(_Header)


class DefinitionCatalog:
    """The definitions of some operators. `follow` updates it; everything else is as of then.

    A definition that changes may count on in its previous version until the new one has caught up
    with history: then both are in the catalog.

    Attributes:
        unreadable: the definitions whose records cannot be read, at least in part.
        superseding: the versions for which a previous one still counts.
    """

    def __init__(self, operators: Sequence[AnyOperator], reader: TopicReader) -> None:
        self._operators = {operator.name: operator for operator in operators}
        self._reader = reader
        self._entries: dict[Key, Entry] = {}
        self.unreadable: dict[DefinitionId, Unreadable] = {}
        self.superseding: set[Key] = set()
        self._some: dict[frozenset[Key], Matcher] = {}  # of those asked for lately
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
        """Read new records, for up to `timeout_s`; return whether something else is counted now.

        It is not if only a name or a description has changed.
        """
        messages = self._reader.poll(timeout_s)
        if not messages:
            return False
        before = self._counted()
        for message in messages:
            self._take(message)
        after = self._counted()
        if before[0] != after[0]:
            self._compile()
        return before != after

    def _counted(self) -> tuple[dict[Key, int], dict[DefinitionId, Unreadable], set[Key]]:
        tags = {key: entry.tag for key, entry in self._entries.items()}
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
                reason = f"its definition cannot be read: {error}"
                self.unreadable[of] = Unreadable(reason, _version_of(value))
                log.error("definition cannot be read", key=key, reason=str(error))

    def _add(self, of: DefinitionId, operator: AnyOperator, value: bytes) -> None:
        definition = operator.spec.decode(value)
        key = key_of(definition)
        if key.definition != of:
            raise msgspec.DecodeError(f"it is stored under the key of another, {'/'.join(of)}")
        self._entries[key] = Entry(operator, definition, int(tag_of(definition)))
        if bytes(definition.previous) != bytes(NO_PREVIOUS):
            self.superseding.add(key)
            previous = operator.spec.previous(definition)
            assert previous is not None
            if key_of(previous).definition != of:
                raise msgspec.DecodeError("its previous version is one of another definition")
            entry = Entry(operator, previous, int(tag_of(previous)))
            self._entries.setdefault(key_of(previous), entry)

    # ── matching ─────────────────────────────────────────────────────────────────────────────────

    def match(self, events: Events, only: frozenset[Key] | None = None) -> MatchedEvents:
        """Find the events that each definition selects; if `only` is given, match only those."""
        matcher = self._matcher if only is None else self._matcher_of_some(only)
        found = matcher.match(events.projects, events.names, events.properties, events.ids)
        return MatchedEvents(events, found.matches, self._clock_offsets(events), found.failures)

    def _matcher_of_some(self, keys: frozenset[Key]) -> Matcher:
        matcher = self._some.pop(keys, None)
        if matcher is None:
            matcher = self._matcher_of(keys)
            while len(self._some) >= _MAX_MATCHERS:
                del self._some[next(iter(self._some))]
        self._some[keys] = matcher
        return matcher

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
        self._some.clear()
        self._projects = sorted({key.project for key in self._entries})
        self._project_index = KeyIndex()
        names = StringColumn.of(pa.array(self._projects, pa.string()))
        places = np.arange(len(self._projects))
        self._project_index.intern(names, StringColumn.empty(len(places)), places)

    def _matcher_of(self, keys: Collection[Key]) -> Matcher:
        selections, failures = [], {}
        for key, (operator, definition, _) in self._entries.items():
            if key in keys:
                try:
                    selectors, reads = operator.selectors(definition), operator.reads(definition)
                    selections.append(Selection(key, selectors, reads))
                except Exception as error:  # noqa: BLE001 (an operator may raise anything)
                    failures[key] = error
        return Matcher(selections, failures)


def _version_of(value: bytes) -> int | None:
    try:
        return decode_with(_header_decoder, value).version
    except msgspec.DecodeError:
        return None
