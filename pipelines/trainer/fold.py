"""The fold of one definition's examples: questions in, outcomes marked, what is due learned.

Pure: it knows no topic and no time but the clocks of its records. A log that is cut into other
records gives the same labels, the same counts, and the same order within each source partition.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.columnar.jit import Bools
from pipelines.trainer.championship import Standing
from pipelines.trainer.learner import Learner, Lesson
from pipelines.trainer.lineup import FoldedRecord, Lineup
from pipelines.trainer.questions import MAX_OPEN, DueQuestions, OpenQuestions
from schemas.examples.checksum import added, checksum
from schemas.examples.columns import Examples, Float64s, Questions, Target, Task

_NOT_BEGUN = -(2**62)  # a clock that no event has set


@dataclass
class Counts:
    """What has become of the triggers and outcomes of a definition.

    asked = learned + unanswered + dropped + those that are open. Outcomes in `late_outcomes` came
    too late to answer any question. `repeated` questions had been asked before.
    """

    asked: int = 0
    learned: int = 0
    unanswered: int = 0
    dropped: int = 0
    late_outcomes: int = 0
    capped: int = 0
    sampled_out: int = 0
    late_triggers: int = 0
    repeated: int = 0


@dataclass(frozen=True)
class Progress:
    """How far a definition is folded, so that the fold can continue from `open_from`.

    `position` is the offset of `avila.examples` below which all is folded, `begin` that of the
    first record, `open_from` that of the first record with a question that is still open. Of each
    of the source `partitions`: its clock, and the offset of its last question. The checksums are
    those of `schemas.examples.checksum`. `standing` says which model scores; None in records of
    earlier versions.
    """

    position: int
    begin: int
    open_from: int
    partitions: tuple[int, ...]
    clocks: tuple[int, ...]
    asked_to: tuple[int, ...]
    counts: Counts
    checksum: int
    asked_checksum: int
    standing: Standing | None = None


class _Source:
    """What is known of one source partition."""

    def __init__(self, task: Task, max_open: int) -> None:
        self.questions = OpenQuestions(task, max_open)
        self.clock = _NOT_BEGUN
        self.asked_to = -1  # the offset of the last question
        self.asked_again_to = -1  # the same, of the records that are folded a second time


class TaskFold:
    """Folds the records of one definition's tag, in the order of the log."""

    def __init__(
        self,
        task: Task,
        learners: Sequence[Learner],
        begin: int,
        progress: Progress | None = None,
        max_open: int = MAX_OPEN,
    ) -> None:
        self.task = task
        self.lineup = Lineup(task, learners, begin)
        self.counts = Counts()
        self.checksum = self.asked_checksum = 0
        self.position = self.begin = begin
        self._max_open = max_open
        self._sources: dict[int, _Source] = {}
        if progress is not None:
            self._resume(progress)

    def fold(self, examples: Examples, offset: int) -> None:
        """Fold the record at `offset` of the log.

        A fold that resumes must be given the records from `open_from` on again. Those below its
        position only open their questions again: nothing is learned or counted twice.
        """
        source = self._sources.setdefault(examples.partition, _Source(self.task, self._max_open))
        if offset < self.position:
            self._reopen(source, examples, offset)
            return
        self.position = offset + 1
        self._count(examples)
        at = FoldedRecord(offset, examples.clock, self.counts.learned)
        self.lineup.obey(examples.serving, at)
        new = self._new(source, examples)
        self.asked_checksum = added(self.asked_checksum, checksum(examples.partition, new.offsets))
        dropped = source.questions.take_in(new, examples.model_version, offset, _scorer(examples))
        self.counts.asked += len(new.offsets)
        self.counts.dropped += dropped
        self.counts.late_outcomes += source.questions.answer(examples.outcomes)
        source.clock = max(source.clock, examples.clock)
        self._learn(examples.partition, at, source.questions.take_due(source.clock))

    def progress(self, position: int) -> Progress:
        """Return how far the fold is, given that the log below `position` is folded."""
        sources = sorted(self._sources.items())
        opened = [source.questions.first_record for _, source in sources]
        return Progress(
            position,
            self.begin,
            min((record for record in opened if record is not None), default=position),
            tuple(number for number, _ in sources),
            tuple(source.clock for _, source in sources),
            tuple(source.asked_to for _, source in sources),
            replace(self.counts),
            self.checksum,
            self.asked_checksum,
            self.lineup.championship.standing,
        )

    @property
    def learners(self) -> list[Learner]:
        """The models that learn, in the order of the task."""
        return self.lineup.learners

    @property
    def open(self) -> int:
        """How many questions are open."""
        return sum(len(source.questions) for source in self._sources.values())

    @property
    def nbytes(self) -> int:
        """The memory of the open questions in bytes."""
        return sum(source.questions.nbytes for source in self._sources.values())

    def _resume(self, progress: Progress) -> None:
        self.position, self.begin = progress.position, progress.begin
        self.counts = replace(progress.counts)
        self.checksum, self.asked_checksum = progress.checksum, progress.asked_checksum
        if progress.standing is not None:
            self.lineup.championship.resume(progress.standing)
        for number, clock, asked_to in zip(
            progress.partitions, progress.clocks, progress.asked_to, strict=True
        ):
            source = self._sources[number] = _Source(self.task, self._max_open)
            source.clock, source.asked_to = clock, asked_to

    def _reopen(self, source: _Source, examples: Examples, offset: int) -> None:
        """Take in what is still open; what is due by the clock was learned already."""
        asked = examples.questions
        begin = int(np.searchsorted(asked.offsets, source.asked_again_to, side="right"))
        if len(asked.offsets):
            source.asked_again_to = max(source.asked_again_to, int(asked.offsets[-1]))
        again = asked.rows(begin, len(asked.offsets))
        source.questions.take_in(again, examples.model_version, offset, _scorer(examples))
        source.questions.answer(examples.outcomes)
        source.questions.take_due(source.clock)

    def _count(self, examples: Examples) -> None:
        self.counts.capped += examples.not_asked.capped
        self.counts.sampled_out += examples.not_asked.sampled_out
        self.counts.late_triggers += examples.not_asked.late_triggers

    def _new(self, source: _Source, examples: Examples) -> Questions:
        """Return the questions that were not asked before, and count the others."""
        asked = examples.questions
        begin = int(np.searchsorted(asked.offsets, source.asked_to, side="right"))
        self.counts.repeated += begin
        if len(asked.offsets):
            source.asked_to = max(source.asked_to, int(asked.offsets[-1]))
        return asked.rows(begin, len(asked.offsets))

    def _learn(self, partition: int, at: FoldedRecord, due: DueQuestions) -> None:
        if not len(due.offsets):
            return
        answered = ~np.isnan(due.values)
        if self.task.target == "value":
            self.counts.unanswered += int((~answered).sum())
            due, answered = due.filter(answered), answered[answered]
        labels = _labels(self.task.target, due, answered)
        lesson = Lesson(due.features, labels, due.scores, due.versions, due.scorers)
        if len(labels):
            self.lineup.teach(lesson, at)
        self.counts.learned += len(labels)
        self.checksum = added(self.checksum, checksum(partition, due.offsets))


def _scorer(examples: Examples) -> int:
    """Return the place of the model that scored the questions of a record."""
    return examples.task.models.index(examples.scored_by) if examples.scored_by else 0


def _labels(target: Target, due: DueQuestions, answered: Bools) -> Float64s:
    match target:
        case "performs":
            return answered.astype(np.float64)
        case "does_not":
            return (~answered).astype(np.float64)
        case "value":
            return due.values
