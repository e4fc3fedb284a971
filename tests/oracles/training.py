"""What is learned from questions and outcomes, worked out one question at a time.

An event of one source partition asks, answers, or both. Events are given in the order of the log,
each with what its partition's clock said just before it.
"""

from typing import NamedTuple

_MASK = (1 << 64) - 1


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
        if outcome.person != question.person or outcome.offset <= question.offset:
            return False
        in_window = question.at <= outcome.at <= question.at + horizon_ms
        return in_window and outcome.clock <= question.at + horizon_ms + lateness_ms

    learned, unanswered, still_open = [], [], []
    for question in sorted(asked, key=lambda one: (one.at, one.offset)):
        if clock <= question.at + horizon_ms + lateness_ms:
            still_open.append(question.offset)
            continue
        own = [outcome for outcome in happened if answers(question, outcome)]
        if target == "value" and not own:
            unanswered.append(question.offset)
        elif target == "value":
            earliest = min(own, key=lambda one: (one.at, one.offset))
            learned.append(Learned(question.offset, earliest.value))
        else:
            positive = bool(own) if target == "performs" else not own
            learned.append(Learned(question.offset, 1.0 if positive else 0.0))
    late = [outcome for outcome in happened if outcome.at + lateness_ms < outcome.clock]
    missed = [one for one in late if not any(answers(question, one) for question in asked)]
    return Judged(learned, unanswered, still_open, len(missed))


def checksum(ids: list[tuple[int, int]]) -> int:
    """The checksum of a set of questions, by source partition and offset."""
    return sum(_mix(_mix(partition) + offset) for partition, offset in ids) & _MASK


def _mix(value: int) -> int:
    mixed = (value + 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)
