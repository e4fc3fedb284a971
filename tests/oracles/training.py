"""What is learned from questions and outcomes, worked out one question at a time.

An event of one source partition asks, answers, or both. Events are given in the order of the log,
each with what its partition's clock said just before it.
"""

from collections import defaultdict
from typing import NamedTuple

_MASK = (1 << 64) - 1
_NEVER = -(2**62)


class Asked(NamedTuple):
    """A question: who asked it when, and its features."""

    offset: int
    at: int
    person: int
    features: tuple[float, ...] = ()


class Happened(NamedTuple):
    """An event that may answer questions."""

    offset: int
    at: int
    person: int
    value: float
    clock: int


class Learned(NamedTuple):
    """A question that was learned, with its label."""

    offset: int
    label: float


class Judged(NamedTuple):
    """What has become of the questions and outcomes of one source partition."""

    learned: list[Learned]
    unanswered: list[int]
    open: list[int]
    late_outcomes: int


def judge(
    asked: list[Asked],
    happened: list[Happened],
    clock: int,
    target: str,
    horizon_ms: int,
    lateness_ms: int,
) -> Judged:
    """Judge a source partition whose clock says `clock` in the end."""

    def answers(question: Asked, outcome: Happened) -> bool:
        if outcome.offset <= question.offset:
            return False
        in_window = question.at <= outcome.at <= question.at + horizon_ms
        return in_window and outcome.clock <= question.at + horizon_ms + lateness_ms

    asked_by, done_by = defaultdict(list), defaultdict(list)
    for one in asked:
        asked_by[one.person].append(one)
    for done in happened:
        done_by[done.person].append(done)
    learned, unanswered, still_open = [], [], []
    for question in sorted(asked, key=lambda one: (one.at, one.offset)):
        if clock <= question.at + horizon_ms + lateness_ms:
            still_open.append(question.offset)
            continue
        own = [outcome for outcome in done_by[question.person] if answers(question, outcome)]
        if target == "value" and not own:
            unanswered.append(question.offset)
        elif target == "value":
            earliest = min(own, key=lambda one: (one.at, one.offset))
            learned.append(Learned(question.offset, earliest.value))
        else:
            positive = bool(own) if target == "performs" else not own
            learned.append(Learned(question.offset, 1.0 if positive else 0.0))
    late = [outcome for outcome in happened if outcome.at + lateness_ms < outcome.clock]
    missed = [
        one for one in late if not any(answers(question, one) for question in asked_by[one.person])
    ]
    return Judged(learned, unanswered, still_open, len(missed))


class MergedLearning:
    """What each record of a log lets learn, in order, while history is merged over partitions.

    It does not bound what waits, so that all of history is learned in the order of time.
    """

    def __init__(self, target: str, horizon_ms: int, lateness_ms: int) -> None:
        self._rules = target, horizon_ms, lateness_ms
        self._asked: dict[int, list[Asked]] = {}
        self._happened: dict[int, list[Happened]] = {}
        self._clocks: dict[int, int] = {}
        self._reading: set[int] = set()
        self._limits: dict[int, int] = {}
        self._known: dict[int, int] = {}
        self._merged_to = _NEVER

    def take_in(
        self,
        partition: int,
        asked: list[Asked],
        happened: list[Happened],
        clock: int,
        *,
        history: bool,
        partitions: int,
    ) -> list[tuple[int, Learned]]:
        """Take in a record, and return what is learned then, with its source partition."""
        self._asked.setdefault(partition, []).extend(asked)
        self._happened.setdefault(partition, []).extend(happened)
        self._clocks[partition] = max(clock, self._clocks.get(partition, clock))
        self._reading -= {partition}
        if history:
            self._reading |= {partition}
        everyone = len(self._clocks) >= partitions
        if everyone and self._reading:
            least = min(self._clocks[number] for number in self._reading)
            self._merged_to = max(self._merged_to, least)
        due = []
        for number, own in self._clocks.items():
            limit = own if everyone and not self._reading else min(own, self._merged_to)
            before = self._limits.get(number, limit)
            self._limits[number] = max(limit, before)
            if number != partition and self._limits[number] == before and number in self._known:
                continue  # neither new examples nor a new limit
            asked, happened = self._asked[number], self._happened[number]
            learned = judge(asked, happened, self._limits[number], *self._rules).learned
            at = {question.offset: question.at for question in asked}
            known = self._known.get(number, 0)
            due += [(at[one.offset], number, one) for one in learned[known:]]
            self._known[number] = len(learned)
        due.sort(key=lambda one: (one[0], one[1], one[2].offset))
        return [(number, one) for _, number, one in due]


def checksum(ids: list[tuple[int, int]]) -> int:
    """The checksum of a set of questions, by source partition and offset."""
    return sum(_mix(_mix(partition) + offset) for partition, offset in ids) & _MASK


def _mix(value: int) -> int:
    mixed = (value + 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)
