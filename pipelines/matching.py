"""Which events concern which funnels: definitions compiled to look-ups.

An event that no definition names costs one look-up, however many definitions there are; the
properties of an event are parsed only if a condition asks for them, and once for all that do.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipelines.conditions import Test, compile_conditions, parse_properties
from pipelines.funnel_fold import Masks
from pipelines.kernel import Int64s
from pipelines.keys import ArrowColumn, KeyIndex, Texts
from schemas.definitions import FunnelDefinition

FunnelKey = tuple[str, str, int]  # project, id, version


class Match(NamedTuple):
    """The events of a batch that a funnel looks at: their rows, ascending, and steps satisfied."""

    rows: Int64s
    masks: Masks


class _Use(NamedTuple):
    funnel: FunnelKey
    mask: int
    test: Test | None


def key_of(definition: FunnelDefinition) -> FunnelKey:
    """What tells one version of one funnel from all others."""
    return definition.project_id, definition.id, definition.version


class Matcher:
    """Compiled once for each change of the definitions; pure from then on."""

    def __init__(self, definitions: Iterable[FunnelDefinition]) -> None:
        self._events = KeyIndex()
        self._uses: list[list[_Use]] = []
        for definition in definitions:
            for place, step in enumerate(definition.funnel.steps):
                test = compile_conditions(step.where) if step.where else None
                code = self._code(definition.project_id, step.event)
                self._uses[code].append(_Use(key_of(definition), 1 << place, test))

    def match(
        self, projects: Texts, events: Texts, properties: ArrowColumn
    ) -> dict[FunnelKey, Match]:
        """Find the events of each funnel; funnels that none of them concerns are left out."""
        count = len(events.starts) - 1
        codes = self._events.find(projects, events, np.arange(count))
        known = np.flatnonzero(codes >= 0)
        if not len(known):
            return {}
        known = known[np.argsort(codes[known], kind="stable")]
        present, begins = np.unique(codes[known], return_index=True)
        parsed: dict[int, Mapping[str, Any]] = {}
        pieces: dict[FunnelKey, list[tuple[Int64s, int]]] = {}
        for code, rows in zip(present.tolist(), np.split(known, begins[1:]), strict=True):
            for use in self._uses[code]:
                kept = rows if use.test is None else _passing(use.test, rows, properties, parsed)
                if len(kept):
                    pieces.setdefault(use.funnel, []).append((kept, use.mask))
        return {funnel: _joined(parts) for funnel, parts in pieces.items()}

    def _code(self, project: str, event: str) -> int:
        project_text, event_text = (Texts.of(pa.array([text])) for text in (project, event))
        (code,) = self._events.intern(project_text, event_text, np.zeros(1, np.int64))
        if code == len(self._uses):
            self._uses.append([])
        return int(code)


def _passing(
    test: Test, rows: Int64s, properties: ArrowColumn, parsed: dict[int, Mapping[str, Any]]
) -> Int64s:
    kept = []
    for row in rows.tolist():
        known = parsed.get(row)
        if known is None:
            known = parsed[row] = parse_properties(properties[row].as_py())
        if test(known):
            kept.append(row)
    return np.array(kept, np.int64)


def _joined(parts: list[tuple[Int64s, int]]) -> Match:
    rows = np.concatenate([rows for rows, _ in parts])
    masks = np.repeat(
        np.array([mask for _, mask in parts], np.uint32), [len(rows) for rows, _ in parts]
    )
    order = np.argsort(rows, kind="stable")
    rows, masks = rows[order], masks[order]
    firsts = np.flatnonzero(np.diff(rows, prepend=-1))
    return Match(rows[firsts], np.bitwise_or.reduceat(masks, firsts))
