"""Which events concern which definitions: their selectors, compiled to look-ups.

An event whose name no definition selects costs one look-up, however many definitions there are. Its
properties are looked at only if a condition needs them, and parsed once for all events that are
alike in what it needs (`pipelines.matching.property_groups`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from pipelines.columnar.argsort import order_of
from pipelines.columnar.jit import Int64s
from pipelines.columnar.key_index import KeyIndex
from pipelines.columnar.string_column import ArrowColumn, StringColumn
from pipelines.matching.conditions import compile_conditions
from pipelines.matching.match import Key, Masks, Match, Matches
from pipelines.matching.property_groups import Properties, PropertyFunction, PropertyNames
from pipelines.matching.readers import EventColumns, Reader, compile_reader, group_names
from pipelines.matching.selectors import HasObject, PropertyRead
from schemas.conditions import Condition, comparisons
from schemas.event_filter import EventSelector

_EVERY_NAME: Final = ""  # no event has it: the name of selectors for events of any name


class Selection(NamedTuple):
    """What a definition selects and reads of events."""

    key: Key
    selectors: Sequence[EventSelector]
    reads: Sequence[PropertyRead] = ()


class _Selector(NamedTuple):
    """A selector of a definition, for events of one name."""

    key: Key
    mask: int  # the selector's bit
    condition: PropertyFunction | None
    object: str | None

    def select(self, rows: Int64s, properties: Properties) -> Int64s:
        """Return those of `rows` that it selects."""
        if self.object is not None:
            rows = rows[properties.mention(self.object)[rows]]
        return rows if self.condition is None else rows[properties.evaluate(self.condition, rows)]


class Matcher:
    """The selections of some definitions, compiled. Pure: a batch changes nothing of it.

    `failures` are definitions of which no selection could be made; every match reports them.
    """

    def __init__(
        self, selections: Iterable[Selection], failures: Mapping[Key, Exception] | None = None
    ) -> None:
        self._failures = dict(failures or {})
        self._index = KeyIndex()  # of projects and names
        self._any_name = False
        self._selectors: list[list[_Selector]] = []  # by their code in the index
        self._readers: dict[Key, list[Reader]] = {}
        # Definitions that ask the same share its evaluation.
        self._conditions: dict[bytes, PropertyFunction] = {}
        self._reader = cache(compile_reader)
        for selection in selections:
            try:
                self._add(selection)
            except Exception as error:  # noqa: BLE001 (an operator may select anything)
                self._failures[selection.key] = error
        readers = [reader for several in self._readers.values() for reader in several]
        self._property_names = PropertyNames(
            [
                *(condition.names for condition in self._conditions.values()),
                *(reader.names for reader in readers),
            ]
        )

    def _add(self, selection: Selection) -> None:
        key, selectors, reads = selection
        readers = [self._reader(read) for read in reads]
        compiled = []
        for place, selector in enumerate(selectors):
            condition = self._condition(selector.where) if selector.where else None
            of_object = selector.object if isinstance(selector, HasObject) else None
            compiled.append(_Selector(key, 1 << place, condition, of_object))
        self._readers[key] = readers
        for selector, own in zip(selectors, compiled, strict=True):
            self._any_name = self._any_name or selector.event is None
            self._selectors[self._code(key.project, selector.event or _EVERY_NAME)].append(own)

    def _condition(self, where: Sequence[Condition]) -> PropertyFunction:
        text = msgspec.json.encode(where)
        if text not in self._conditions:
            names = {condition.property for condition, _ in comparisons(where, "where")}
            test = compile_conditions(where)
            self._conditions[text] = PropertyFunction(group_names(names), test, np.bool_)
        return self._conditions[text]

    def _code(self, project: str, name: str) -> int:
        projects, names = (StringColumn.of(pa.array([text])) for text in (project, name))
        (code,) = self._index.intern(projects, names, np.zeros(1, np.int64))
        if code == len(self._selectors):
            self._selectors.append([])
        return int(code)

    def match(
        self,
        projects: StringColumn,
        names: StringColumn,
        properties: ArrowColumn,
        ids: StringColumn | None = None,
    ) -> Matches:
        """Find the events of each definition, given the columns of a batch.

        A definition fails if it reads ids, and there are none.
        """
        count = len(names.starts) - 1
        parsed, failures = Properties(properties, self._property_names), dict(self._failures)
        parts: dict[Key, list[tuple[Int64s, int]]] = {}
        for of_name in (names, StringColumn.empty(count)) if self._any_name else (names,):
            for code, rows in self._rows_by_code(projects, of_name, count):
                for selector in self._selectors[code]:
                    try:
                        selected = selector.select(rows, parsed)
                    except Exception as error:  # noqa: BLE001 (a condition may raise anything)
                        failures[selector.key] = error
                        continue
                    if len(selected):
                        parts.setdefault(selector.key, []).append((selected, selector.mask))
        found, events = {}, EventColumns(names, ids)
        for key in parts.keys() - failures.keys():
            rows, masks = _joined(parts[key], count)
            try:
                values = [own.column(rows, events, parsed) for own in self._readers[key]]
            except Exception as error:  # noqa: BLE001 (a reader may raise anything)
                failures[key] = error
            else:
                found[key] = Match(rows, masks, values)
        return Matches(found, failures)

    def _rows_by_code(
        self, projects: StringColumn, names: StringColumn, count: int
    ) -> Iterator[tuple[int, Int64s]]:
        """Yield the rows of each (project, name) that is selected, ascending."""
        codes = self._index.find(projects, names, np.arange(count))
        known = np.flatnonzero(codes >= 0)
        if not len(known):
            return
        known = known[order_of(codes[known])]
        present, begins = np.unique(codes[known], return_index=True)
        yield from zip(present.tolist(), np.split(known, begins[1:]), strict=True)


def _joined(parts: list[tuple[Int64s, int]], count: int) -> tuple[Int64s, Masks]:
    """Return the rows, of `count`, that are in any of the parts, and the masks of those parts."""
    if len(parts) == 1:
        ((rows, mask),) = parts
        return rows, np.full(len(rows), mask, np.uint32)
    masks = np.zeros(count, np.uint32)
    for rows, mask in parts:
        masks[rows] |= np.uint32(mask)
    rows = np.flatnonzero(masks)
    return rows, masks[rows]
