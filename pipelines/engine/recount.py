"""Recounts: events that came too late are folded in their place, without being asked.

An event that is older than its person's newest by more than the allowed lateness is left out, and
its definition is `behind`. A recount reads the log again for the definitions of one project that
are behind, in one partition. It folds their events in the order of time into instances of its own,
beside those that go on counting:

    the log up to the position ─▶ in the order of time ─▶ what came meanwhile, as it came

As soon as it has reached the partition's position, each instance continues with the state and the
aggregates of its counterpart (`OperatorInstance.succeed`), in one transaction. Until then, what was
counted before can be read, and a crash loses nothing but the work: the definition is still behind.
"""

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import structlog

from pipelines.engine.constants import NEVER
from pipelines.engine.events import MatchedEvents
from pipelines.engine.history import History, SelectedEvents
from pipelines.engine.instance import AnyInstance
from pipelines.engine.partition import Partition
from pipelines.matching.match import Key

log = structlog.get_logger(__name__)

# Reads the events between two offsets for some definitions; yields None while it waits.
ReadPast: TypeAlias = Callable[[int, int, Collection[Key]], Iterator[MatchedEvents | None]]

_CATCH_UP_BATCH: Final = 20_000  # offsets
_MAX_WAITS: Final = 20  # of a tenth of a second each
_EXPIRED_STEPS: Final = 10_000  # calls of `expire`, each of a bounded part


class RecountError(Exception):
    """A definition cannot be counted again."""


class Recount:
    """A recount of some definitions of one project in one partition.

    `make` makes an instance of a definition that holds nothing; `begin` is an offset before which
    none of them selects an event.
    """

    def __init__(
        self,
        partition: Partition,
        instances: Sequence[AnyInstance],
        make: Callable[[Key], AnyInstance],
        read: ReadPast,
        begin: int,
        max_bytes: int,
    ) -> None:
        self._partition = partition
        self._instances = {instance.key: instance for instance in instances}
        self._recounted = {key: make(key) for key in self._instances}
        self._corrections = {
            key: corrections
            for key, instance in self._instances.items()
            if (corrections := instance.corrections(make(key), make(key))) is not None
        }
        self._read = read
        self._begin = begin
        self._end = 0  # of the history that is folded in the order of time
        self._max_bytes = max_bytes
        self._sorted = True  # whether the events that are folded come in the order of time

    def run(self, now_ms: Callable[[], int]) -> Iterator[None]:
        """Read and fold, in steps, up to the partition's position; then `succeed` may be called.

        Between its last step and that call, the partition must not move on.
        """
        for key, recounted in self._recounted.items():
            with recounted.failing_alone():
                recounted.aggregates.succeed(self._instances[key].aggregates)
        self._end = end = self._partition.position
        yield from self._fold_history(end)
        self._sorted = False
        yield from self._fold_since(end)
        for recounted in self._recounted.values():
            self._expire(recounted, self._clock(recounted, now_ms()))

    def succeed(self) -> list[tuple[AnyInstance, Any]]:
        """Replace what was counted; return the changes of persons that are to be published.

        A definition that has ended or failed meanwhile is left as it is. One that could not be
        counted again fails.
        """
        changed = []
        for key, instance in self._instances.items():
            recounted = self._recounted[key]
            if self._partition.instances.get(key) is not instance or not instance.live:
                continue
            if recounted.failed:
                instance.fail(RecountError(recounted.failed))
                continue
            with instance.failing_alone():
                changes = instance.succeed(recounted)
                if key in self._corrections:
                    changes = self._corrections[key].changes(instance.state)
                if changes is not None:
                    changed.append((instance, changes))
                instance.recounted_to = self._end
                instance.settle(self._partition.position)
                log.info("recounted", definition=key.name, late=instance.late)
        return changed

    # ── events in the order of time ──────────────────────────────────────────────────────────────

    def _fold_history(self, end: int) -> Iterator[None]:
        history, keys = History(self._max_bytes), frozenset(self._recounted)
        for number in itertools.count():
            for matched in self._read(self._begin, end, keys):
                if matched is not None:
                    for key, events in self._selected(matched):
                        if number == 0:
                            self._note(key, events)
                        self._keep(history, key, events)
                yield
            for key, recounted in self._recounted.items():
                self._correct(history, key)
                yield
                with recounted.failing_alone():
                    recounted.state.rewind()
                for events in history.batches(key):
                    self._fold(recounted, events)
                    self._expire(recounted, int(events.at[-1]))
                    yield
            keys = frozenset(key for key in keys if self._recounted[key].state.by_person)
            if not history.next_pass() or not keys:
                return

    def _keep(self, history: History, key: Key, events: SelectedEvents) -> None:
        recounted = self._recounted[key]
        if recounted.state.by_person:
            history.add(key, events)
        else:  # whatever the order, it counts the same
            self._fold(recounted, events)

    def _note(self, key: Key, events: SelectedEvents) -> None:
        with self._recounted[key].failing_alone():
            if key in self._corrections:
                self._corrections[key].note(len(self._partition.persons), events)

    def _correct(self, history: History, key: Key) -> None:
        """Fold what is kept of the persons whom late events concern, as it was announced."""
        with self._recounted[key].failing_alone():
            if (corrections := self._corrections.get(key)) is not None:
                events = history.of_persons(key, corrections.concerned)
                if events is not None:
                    corrections.fold_history(len(self._partition.persons), events)

    # ── events as they come ──────────────────────────────────────────────────────────────────────

    def _fold_since(self, begin: int) -> Iterator[None]:
        """Fold what came since. The last few events are folded in one step."""
        while begin < (end := self._partition.position):
            waits = 0
            for matched in self._read(begin, end, self._recounted):
                if matched is None:
                    waits += 1
                else:
                    for key, events in self._selected(matched):
                        self._fold(self._recounted[key], events)
                        with self._recounted[key].failing_alone():
                            if key in self._corrections:
                                self._corrections[key].fold_since(
                                    len(self._partition.persons), events
                                )
                    begin = matched.events.range.end
                if end - begin > _CATCH_UP_BATCH or waits > _MAX_WAITS:
                    yield
            begin = end

    # ── both ─────────────────────────────────────────────────────────────────────────────────────

    def _selected(self, matched: MatchedEvents) -> Iterator[tuple[Key, SelectedEvents]]:
        """Yield each definition's events of a batch, as it folds them."""
        events = matched.events
        for key, error in matched.failures.items():
            if key in self._recounted:
                self._recounted[key].fail(error)
        for key, match in matched.matches.items():
            recounted = self._recounted.get(key)
            if recounted is None or recounted.failed:
                continue
            at = events.at.take(match.rows)
            counts = at >= recounted.definition.since_ms
            rows, masks, values = match.cut(counts)
            slots = np.zeros(len(rows), np.int32)
            if recounted.state.by_person:
                slots = self._partition.persons.intern(events.projects, events.persons, rows)
            offsets = events.offsets.take(rows)
            yield key, SelectedEvents(slots, at[counts], masks, offsets, values)

    def _fold(self, recounted: AnyInstance, events: SelectedEvents) -> None:
        if recounted.failed or not len(events.at):
            return
        with recounted.failing_alone():
            result = recounted.state.fold(len(self._partition.persons), *events)
            recounted.aggregates.apply(result.changes)
            recounted.late += result.late
            if recounted.state.by_person and not self._sorted:
                recounted.behind += result.late - result.overflow

    @staticmethod
    def _expire(recounted: AnyInstance, now_ms: int) -> None:
        """Let time pass. Windows that close are announced already, by the instance that counts."""
        if recounted.failed or now_ms == NEVER:
            return
        with recounted.failing_alone():
            for _ in range(_EXPIRED_STEPS):
                expired = recounted.state.expire(now_ms)
                if expired is None:
                    break
                if expired.changes is not None:
                    recounted.aggregates.apply(expired.changes)

    def _clock(self, recounted: AnyInstance, now_ms: int) -> int:
        offset_ms = self._partition.clock_offsets.get(recounted.key.project, NEVER)
        clock = NEVER if offset_ms == NEVER else now_ms + offset_ms
        own = self._instances[recounted.key].state.clock
        return clock if own is None else max(clock, own)
