"""What is wanted: the definitions as they stand, and what they look for in events.

It follows the definitions topic. Records of kinds that no operator evaluates, and what is no
definition, are passed over.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import structlog
from confluent_kafka import Message

from pipelines.columnar.jit import Int64s
from pipelines.columnar.key_index import KeyIndex
from pipelines.columnar.string_column import ArrowColumn, StringColumn
from pipelines.engine.instance import key_of
from pipelines.engine.operator import AnyOperator
from pipelines.matching.match import Key, Match
from pipelines.matching.matcher import Matcher
from schemas.definitions import Definition, parse_key
from schemas.follower import TopicReader

log = structlog.get_logger(__name__)


class Entry(NamedTuple):
    """A definition in the catalog, and its operator."""

    operator: AnyOperator
    definition: Definition


class DefinitionCatalog:
    """The definitions of some kinds. `follow` moves it on; everything else is as of then."""

    def __init__(self, operators: Sequence[AnyOperator], follower: TopicReader) -> None:
        self._operators = {operator.name: operator for operator in operators}
        self._follower = follower
        self._found: dict[Key, Entry] = {}
        self._some: tuple[frozenset[Key], Matcher] | None = None  # the last ones asked for
        self._compile()

    def __iter__(self) -> Iterator[Key]:
        return iter(self._found)

    def __getitem__(self, key: Key) -> Entry:
        return self._found[key]

    @property
    def caught_up(self) -> bool:
        """Whether all that stood on the topic when it was first read has been read."""
        return self._follower.caught_up

    def follow(self, timeout_s: float = 0) -> bool:
        """Read what is new on the topic; tells whether anything differs now."""
        before = dict(self._found)
        for message in self._follower.poll(timeout_s):
            self._take(message)
        if before == self._found:
            return False
        self._compile()
        return True

    def _take(self, message: Message) -> None:
        try:
            project, name, definition_id = parse_key(message.key() or b"")
        except ValueError as error:
            log.error("not a definition", key=message.key(), reason=str(error))
            return
        operator = self._operators.get(name)
        if operator is None:
            return
        for key in [key for key in self._found if key[:3] == (name, project, definition_id)]:
            del self._found[key]
        value = message.value()
        if value is None:
            return
        try:
            definition = operator.spec.decode(value)
        except msgspec.DecodeError as error:
            log.error("not a definition", key=message.key(), reason=str(error))
            return
        self._found[key_of(definition)] = Entry(operator, definition)

    def match(
        self,
        projects: StringColumn,
        events: StringColumn,
        properties: ArrowColumn,
        only: frozenset[Key] | None = None,
    ) -> dict[Key, Match]:
        """Find the events that each definition looks at, or each of some: see `Matcher.match`."""
        if only is None:
            return self._matcher.match(projects, events, properties)
        if self._some is None or self._some[0] != only:
            self._some = only, self._matcher_of(only)
        return self._some[1].match(projects, events, properties)

    def newest(self, projects: StringColumn, ahead: Int64s) -> dict[str, int]:
        """The largest `ahead` among the events of each project that anything is wanted of."""
        codes = self._project_index.find(
            projects, StringColumn.empty(len(ahead)), np.arange(len(ahead))
        )
        return {
            self._projects[code]: int(ahead[codes == code].max())
            for code in np.unique(codes[codes >= 0]).tolist()
        }

    def _compile(self) -> None:
        self._matcher = self._matcher_of(self._found)
        self._some = None
        self._projects = sorted({key.project for key in self._found})
        self._project_index = KeyIndex()
        names = StringColumn.of(pa.array(self._projects, pa.string()))
        places = np.arange(len(self._projects))
        self._project_index.intern(names, StringColumn.empty(len(places)), places)

    def _matcher_of(self, keys: Collection[Key]) -> Matcher:
        return Matcher(
            (key, operator.selectors(definition), operator.reads(definition))
            for key, (operator, definition) in self._found.items()
            if key in keys
        )
