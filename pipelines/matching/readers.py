"""What a definition reads of its events, compiled: a column of values for some rows of a batch."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from pipelines.columnar.dictionary import DictionaryColumn, Value
from pipelines.columnar.jit import Int64s, UInt64s
from pipelines.columnar.mix import mix_strings
from pipelines.columnar.string_column import StringColumn
from pipelines.matching.conditions import compile_member_read, compile_read
from pipelines.matching.property_groups import Properties, PropertyFunction, RowGroups
from pipelines.matching.selectors import (
    EVENT_NAME,
    EventIdHash,
    ObjectMember,
    PropertyRead,
    ValueHash,
)
from pipelines.matching.value_hash import ValueHashes, fingerprint_of_tokens
from schemas.properties import is_spelled_variously
from schemas.value_tokens import token, whole_token


class EventColumns:
    """The names and ids of a batch's events."""

    def __init__(self, names: StringColumn, ids: StringColumn | None) -> None:
        self._names = names
        self._ids = ids
        count = len(names.starts) - 1
        empty = StringColumn.empty(count)
        self._groups = RowGroups(count, lambda index, rows: index.intern(names, empty, rows))

    def column(self, rows: Int64s) -> DictionaryColumn:
        """Return the names of some events."""
        codes = self._groups.codes(rows)
        return DictionaryColumn(codes, self._names.take(self._groups.samples))

    @cached_property
    def id_hashes(self) -> UInt64s:
        """A hash of the id of each event."""
        assert self._ids is not None, "the batch is matched with the ids of its events"
        hashes = np.zeros(len(self._ids.starts) - 1, np.uint64)
        mix_strings(np.uint64(0), *self._ids, hashes)
        return hashes


class Reader(Protocol):
    """Reads one thing of events; those of several definitions may share a reader."""

    @property
    def names(self) -> tuple[str, ...]:
        """The properties that the result depends on."""

    def column(
        self, rows: Int64s, events: EventColumns, properties: Properties
    ) -> DictionaryColumn | ValueHashes:
        """Read some rows of a batch."""


class _NameReader:
    names: ClassVar[tuple[str, ...]] = ()

    def column(self, rows: Int64s, events: EventColumns, _: Properties) -> DictionaryColumn:
        """Return the names of the events."""
        return events.column(rows)


class _IdReader:
    names: ClassVar[tuple[str, ...]] = ()

    def column(self, rows: Int64s, events: EventColumns, _: Properties) -> ValueHashes:
        """Return the hashes of the events' ids."""
        no_tokens = DictionaryColumn(np.zeros(len(rows), np.int32), [()])
        return ValueHashes(events.id_hashes[rows], no_tokens)


class _HashReader:
    def __init__(self, of: ValueHash) -> None:
        reads = [compile_read(name) for name in of.properties]
        token_of = whole_token if of.whole else token
        self.names = names = group_names(of.properties)

        def tokens(properties: Mapping[str, Value]) -> tuple[str, ...]:
            return tuple(token_of(read(properties)) for read in reads)

        self._tokens = PropertyFunction(names, tokens)
        self._numbers = PropertyFunction(
            names, lambda properties: fingerprint_of_tokens(tokens(properties)), np.uint64
        )

    def column(self, rows: Int64s, _: EventColumns, properties: Properties) -> ValueHashes:
        """Return the hashes of the values, and the values' tokens."""
        numbers = properties.evaluate(self._numbers, rows)
        return ValueHashes(numbers, properties.column(self._tokens, rows))


class _PropertyReader(NamedTuple):
    read: PropertyFunction

    @property
    def names(self) -> tuple[str, ...]:
        """The property's name."""
        return self.read.names

    def column(self, rows: Int64s, _: EventColumns, properties: Properties) -> DictionaryColumn:
        """Return the values of the property, None where it is not set."""
        return properties.column(self.read, rows)


class _MemberReader(NamedTuple):
    read: PropertyFunction
    object: str

    @property
    def names(self) -> tuple[str, ...]:
        """The object's name."""
        return self.read.names

    def column(self, rows: Int64s, _: EventColumns, properties: Properties) -> DictionaryColumn:
        """Return the values of the object's member, None where it is not set."""
        mentioned = properties.mention(self.object)[rows]
        found = properties.column(self.read, rows[mentioned])
        codes = np.full(len(rows), len(found.distinct), np.int32)
        codes[mentioned] = found.codes
        return DictionaryColumn(codes, [*found.distinct, None])


def compile_reader(of: PropertyRead) -> Reader:
    """Return a reader of what a definition reads."""
    match of:
        case ValueHash():
            return _HashReader(of)
        case EventIdHash():
            return _IdReader()
        case ObjectMember(outer, name):
            return _MemberReader(
                PropertyFunction((outer,), compile_member_read(outer, name)), outer
            )
        case str(name) if name != EVENT_NAME:
            return _PropertyReader(PropertyFunction(group_names([name]), compile_read(name)))
    return _NameReader()


def group_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return the `PropertyFunction.names` of a function of these properties.

    They are empty (all properties) if one of them has a name that can be spelled in several ways.
    """
    names = sorted(set(names))
    return () if any(map(is_spelled_variously, names)) else tuple(names)
