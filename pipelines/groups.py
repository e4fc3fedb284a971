"""The events of a batch in groups of which the same can be said: it is worked out once a group.

What a question makes of an event depends on a few of its properties. Events in which these are
written alike, byte by byte, are a group: one of them is parsed and asked, and its answer is that of
all. Groups are found where a question is asked, and for all that ask of the same properties.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.conditions import parse_properties
from pipelines.copying import copy
from pipelines.grouped import Grouped
from pipelines.kernel import Bytes, Int, Int32s, Int64s, kernel
from pipelines.keys import ArrowColumn, KeyIndex, Texts
from pipelines.members import NOT_PLAIN, find_members

_UNKNOWN: Final = -1
# Neither is in a value as it is written: what ends one, and what says that a whole text follows.
_END: Final = 0
_WHOLE: Final = 1


class Question(NamedTuple):
    """Something to ask of an event's properties, which depends on those called `names` alone.

    Without names it depends on all of them. `kind` is that of the answers.
    """

    names: tuple[str, ...]
    ask: Callable[[Mapping[str, Any]], Any]
    kind: type[np.generic] = np.object_


class Properties:
    """The properties of a batch: grouped, parsed and asked where that is asked for, and once."""

    def __init__(self, texts: ArrowColumn) -> None:
        self._texts = texts
        self._parsed: dict[int, Mapping[str, Any]] = {}
        self._groups: dict[tuple[str, ...], Groups] = {}
        self._answers: dict[Question, _Answers] = {}
        self._holding: dict[str, NDArray[np.bool_]] = {}

    def ask(self, question: Question, rows: Int64s) -> NDArray[Any]:
        """The answers for some events, each row of the batch no more than once."""
        codes, answers = self.grouped(question, rows)
        column: NDArray[Any] = np.asarray(answers)[codes]
        return column

    def grouped(self, question: Question, rows: Int64s) -> Grouped:
        """As `ask`."""
        names = question.names
        groups = self._groups.get(names)
        if groups is None:
            columns = Texts.of(self._texts), Texts.of(pa.array(names, pa.string()))

            def intern(index: KeyIndex, rows: Int64s) -> Int32s:
                keys, empty = written(*columns, rows), Texts.empty(len(rows))
                return index.intern(keys, empty, np.arange(len(rows)))

            groups = self._groups[names] = Groups(len(self._texts), intern)
        codes = groups.of(rows)
        known = self._answers.setdefault(question, _Answers(question.kind))
        unknown = known.unknown(codes, len(groups.samples))
        for code, properties in zip(unknown, self._parse(groups.samples[unknown]), strict=True):
            known.answers[code] = question.ask(properties)
        return Grouped(codes, known.answers)

    def _parse(self, rows: Int64s) -> list[Mapping[str, Any]]:
        new = [row for row in rows.tolist() if row not in self._parsed]
        for row, text in zip(
            new, self._texts.take(pa.array(new, pa.int64())).to_pylist(), strict=True
        ):
            self._parsed[row] = parse_properties(text)
        return [self._parsed[row] for row in rows.tolist()]

    def holding(self, name: str) -> NDArray[np.bool_]:
        """Whether the events have a property of that name; some that have none are in."""
        found = self._holding.get(name)
        if found is None:
            # Escaped or not: what ASCII text is escaped as begins like this.
            mentions = (pc.match_substring(self._texts, text) for text in (name, "\\u00"))
            found = self._holding[name] = np.asarray(pc.or_(*mentions))
        return found


class Groups:
    """Rows by what `intern` takes for their key; `samples` has a row of each group."""

    def __init__(self, count: int, intern: Callable[[KeyIndex, Int64s], Int32s]) -> None:
        self.samples: Int64s = np.empty(0, np.int64)
        self._intern = intern
        self._index = KeyIndex()
        self._codes = np.full(count, _UNKNOWN, np.int32)

    def of(self, rows: Int64s) -> Int32s:
        """The groups of some rows, numbered in the order in which they came."""
        unknown = rows[self._codes[rows] == _UNKNOWN]
        if len(unknown):
            known = len(self._index)
            codes = self._intern(self._index, unknown)
            self._codes[unknown] = codes
            fresh = codes >= known
            samples = np.empty(len(self._index) - known, np.int64)
            samples[codes[fresh] - known] = unknown[fresh]
            self.samples = np.concatenate([self.samples, samples])
        return self._codes[rows]


class _Answers:
    """What was answered, by the number of the group."""

    def __init__(self, kind: type[np.generic]) -> None:
        self.answers: NDArray[Any] = np.empty(0, kind)
        self._known = np.zeros(0, np.bool_)

    def unknown(self, codes: Int32s, groups: int) -> list[int]:
        """Make room for all groups; returns those of `codes` of which the answer is to be found."""
        more = groups - len(self._known)
        if more:
            self.answers = np.concatenate([self.answers, np.zeros(more, self.answers.dtype)])
            self._known = np.concatenate([self._known, np.zeros(more, np.bool_)])
        unknown = np.unique(codes[~self._known[codes]])
        self._known[unknown] = True
        found: list[int] = unknown.tolist()
        return found


def written(texts: Texts, names: Texts, rows: Int64s) -> Texts:
    """How some properties are written in some of the texts: the same where they are written alike.

    Where a text is not plain (`pipelines.members`), and where there are no names: all of it.
    """
    count = len(names.starts) - 1
    starts = np.zeros(len(rows) + 1, np.int32)
    data = np.empty(_total(texts.starts, rows) + (count + 1) * len(rows), np.uint8)
    begins, sizes = np.empty((2, count), np.int64)
    _write(*texts, rows, *names, begins, sizes, starts, data)
    return Texts.locked(starts, data)


def warm_up() -> None:
    """Have every kernel compiled."""
    texts = Texts.of(pa.array(['{"a":1}']))
    written(texts, Texts.of(pa.array(["a"])), np.zeros(1, np.int64))


@kernel
def _total(starts: Int32s, rows: Int64s) -> Int:
    total = 0
    for row in rows:
        total += starts[row + 1] - starts[row]
    return total


@kernel
def _write(
    starts: Int32s,
    data: Bytes,
    rows: Int64s,
    name_starts: Int32s,
    names: Bytes,
    begins: Int64s,
    sizes: Int64s,
    out_starts: Int32s,
    out: Bytes,
) -> None:
    p = np.int64(0)
    for i in range(len(rows)):
        begin, end = np.int64(starts[rows[i]]), np.int64(starts[rows[i] + 1])
        plain: Int = len(sizes) > 0
        if plain:
            found = find_members(data, begin, end, name_starts, names, begins, sizes)
            plain = found != NOT_PLAIN
        if plain:
            for j in range(len(sizes)):
                p = copy(out, p, data, begins[j], max(sizes[j], 0))
                out[p] = _END
                p += 1
        else:
            out[p] = _WHOLE
            p = copy(out, p + 1, data, begin, end - begin)
        out_starts[i + 1] = p
