"""Recounts: events that came too late are folded in their place, without being asked.

An event that is older than its person's newest by more than the allowed lateness is left out, and
its definition is `behind`. A recount reads the log again for the definitions of one project that
are behind, in one partition. It folds their events in the order of time into instances of its own,
beside those that go on counting:

    the log up to the position ─▶ in the order of time ─▶ what came meanwhile, as it came

When it has reached the partition's position, an instance continues with the state and the
aggregates of its counterpart (`OperatorInstance.succeed`), in one transaction. Until then, what was
counted before can be read, and a crash loses nothing but the work: the definition is still behind.
"""

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import structlog

from pipelines.engine.constants import NEVER
from pipelines.engine.events import MatchedEvents
from pipelines.engine.history import Disorder, History, SelectedEvents
from pipelines.engine.instance import AnyInstance
from pipelines.engine.partition import Partition
from pipelines.matching.match import Key

log = structlog.get_logger(__name__)

# Reads the events between two offsets for some definitions; yields None while it waits.
ReadPast: TypeAlias = Callable[[int, int, Collection[Key]], Iterator[MatchedEvents | None]]
PublishChanges: TypeAlias = Callable[[list[tuple[AnyInstance, Any]]], None]

_CATCH_UP_BATCH: Final = 20_000  # offsets
_MAX_WAITS: Final = 20  # of a tenth of a second each
_EXPIRED_STEPS: Final = 10_000  # calls of `expire`, each of a bounded part


class RecountError(Exception):
    """A definition cannot be counted again."""


class Recount:
    """A recount of some definitions of one project in one partition.

    `make` makes an instance of a definition that holds nothing; `begin` is an offset before which
    none of them selects an event. `max_bytes` returns how many bytes of events it may hold now.
    """

    def __init__(
        self,
        partition: Partition,
        instances: Sequence[AnyInstance],
        make: Callable[[Key], AnyInstance],
        read: ReadPast,
        begin: int,
        max_bytes: Callable[[], int],
    ) -> None:
        self._partition = partition
        self._instances = {instance.key: instance for instance in instances}
        self._recounted = {key: make(key) for key in self._instances}
        self._corrections = {
            key: corrections
            for key, instance in self._instances.items()
            if (corrections := instance.corrections(make(key), make(key))) is not None
        }
        self._disorder = Disorder()
        self._read_past = read
        self._begin = begin
        self._end = 0  # of the history that is folded in the order of time
        self._now_ms = 0  # the time of day, ahead of which no event moves a clock
        self._max_bytes = max_bytes
        self._sorted = True  # whether the events that are folded come in the order of time

    def run(self, now_ms: Callable[[], int], publish: PublishChanges) -> Iterator[None]:
        """Read and fold, in steps, and replace what was counted, one definition a step.

        `publish` is called with the changes of persons, if there are any.
        """
        self._now_ms = now_ms()
        for key, recounted in self._recounted.items():
            with recounted.failing_alone():
                recounted.aggregates.succeed(self._instances[key].aggregates)
        self._end = begin = self._partition.position
        yield from self._fold_history(self._end)
        self._sorted = False
        for key in list(self._recounted):
            self._now_ms = now_ms()
            begin = yield from self._fold_since(begin)
            publish(self._succeed(key, now_ms()))
            yield

    def _succeed(self, key: Key, now_ms: int) -> list[tuple[AnyInstance, Any]]:
        """Replace what was counted of a definition, in the step in which it has come to all events.

        One that has ended or failed meanwhile is left as it is. One that could not be counted again
        fails.
        """
        changed: list[tuple[AnyInstance, Any]] = []
        self._expire(self._recounted[key], self._clock(key, now_ms))
        recounted, instance = self._recounted.pop(key), self._instances[key]
        if self._partition.instances.get(key) is not instance or not instance.live:
            return changed
        if recounted.failed:
            instance.fail(RecountError(recounted.failed))
            return changed
        with instance.failing_alone():
            changes = instance.succeed(recounted)
            if key in self._corrections:
                changes = self._corrections.pop(key).changes(instance.state)
            if changes is not None:
                changed.append((instance, changes))
            instance.recounted_to = self._end
            instance.settle(self._partition.position)
            log.info("recounted", definition=key.name, late=instance.late)
        return changed

    # ── events in the order of time ──────────────────────────────────────────────────────────────

    def _fold_history(self, end: int) -> Iterator[None]:
        """Fold the events below offset `end`, in the order of time.

        If they are too many to be held, only persons whose events did not come in order of time are
        held: those of the others, read again, are in order as they come.
        """
        history = History(self._max_bytes)
        holds_all = True  # until it overflows once: it may hold more again later
        for matched in self._read_past(self._begin, end, self._recounted):
            if matched is not None:
                self._note(matched)
                for key, events in self._selected(matched):
                    if not self._recounted[key].state.by_person:
                        self._fold(key, events)  # it counts the same in any order
                    elif holds_all:
                        history.add(key, events)
                        holds_all = not history.overflows
            yield
        if holds_all:
            yield from self._fold_held(history)
            return
        history.clear()
        by_person = {key for key, one in self._recounted.items() if one.state.by_person}
        first = True
        while first or history.next_pass():
            for matched in self._read_past(self._begin, end, by_person):
                for key, events in self._selected(matched) if matched is not None else ():
                    disordered = self._disorder.of(events.slots)
                    if first:
                        self._fold(key, events.cut(~disordered))
                    history.add(key, events.cut(disordered))
                    history.divide()
                yield
            yield from self._fold_held(history)
            first = False

    def _note(self, matched: MatchedEvents) -> None:
        """Note the persons of events that any definition selects."""
        events = matched.events
        own = [match.rows for key, match in matched.matches.items() if key in self._recounted]
        rows = np.unique(np.concatenate([np.empty(0, np.int64), *own]))
        slots = self._partition.persons.intern(events.projects, events.persons, rows)
        self._disorder.note(len(self._partition.persons), slots, events.at.take(rows))

    def _fold_held(self, history: History) -> Iterator[None]:
        for key, recounted in self._recounted.items():
            yield from self._correct(history, key)
            yield
            with recounted.failing_alone():
                recounted.state.rewind()
            for events in history.batches(key):
                self._fold(key, events)
                self._expire(recounted, min(int(events.at[-1]), self._now_ms))
                yield

    def _correct(self, history: History, key: Key) -> Iterator[None]:
        with self._recounted[key].failing_alone():
            if (corrections := self._corrections.get(key)) is not None:
                events = history.of_disordered(key, self._disorder)
                if events is not None:
                    yield from corrections.fold_history(len(self._partition.persons), events)

    # ── events as they come ──────────────────────────────────────────────────────────────────────

    def _fold_since(self, begin: int) -> Generator[None, None, int]:
        """Fold what came since; return the position of the partition, which it has come to.

        The last few events are folded in one step.
        """
        while begin < (end := self._partition.position):
            waits = 0
            for matched in self._read_past(begin, end, self._recounted):
                if matched is None:
                    waits += 1
                else:
                    for key, events in self._selected(matched):
                        self._fold(key, events)
                        self._correct_since(key, events)
                    begin = matched.events.range.end
                if end - begin > _CATCH_UP_BATCH or waits > _MAX_WAITS:
                    yield
            begin = end
        return begin

    def _correct_since(self, key: Key, events: SelectedEvents) -> None:
        with self._recounted[key].failing_alone():
            if (corrections := self._corrections.get(key)) is not None:
                disordered = events.cut(self._disorder.of(events.slots))
                corrections.fold_since(len(self._partition.persons), disordered)

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

    def _fold(self, key: Key, events: SelectedEvents) -> None:
        recounted = self._recounted[key]
        if recounted.failed or not len(events.at):
            return
        with recounted.failing_alone():
            times_of_day = np.full(len(events.at), self._now_ms)
            result = recounted.fold(len(self._partition.persons), events, times_of_day)
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

    def _clock(self, key: Key, now_ms: int) -> int:
        offset_ms = self._partition.clock_offset_of(key.project)
        clock = NEVER if offset_ms == NEVER else now_ms + offset_ms
        own = self._instances[key].state.clock
        return clock if own is None else max(clock, own)
