"""The fold of one definition's examples: questions in, outcomes marked, what is due learned.

Pure: it knows no topic and no time but the clocks of its records. A log that is cut into other
records gives the same labels, the same counts, the same order and the same models.

Questions that were asked live have the scores that were served. Those of history are scored here,
each by the champion as of the time when it was asked: delayed progressive validation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.columnar.jit import Bools, Int64s
from pipelines.trainer.championship import Standing
from pipelines.trainer.columns import SERVED
from pipelines.trainer.learner import Learner, Lesson
from pipelines.trainer.lineup import FoldedRecord, Lineup
from pipelines.trainer.merge import Step, asked_of, merged, split
from pipelines.trainer.questions import (
    MAX_ASKED,
    DueQuestions,
    OpenQuestions,
    max_waiting_of,
)
from pipelines.trainer.source_clocks import NOT_BEGUN, Merge, SourceClock, SourceClocks
from schemas.examples.checksum import added, checksum
from schemas.examples.columns import Examples, Float64s, Outcomes, Questions, Target, Task


@dataclass
class Counts:
    """What has become of the triggers and outcomes of a definition.

    asked = learned + unanswered + dropped + those that are open. Outcomes in `late_outcomes` came
    too late to answer any question. `repeated` questions had been asked before. `dropped`
    are also those that came when they were due already, by a clock that goes on without events.
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
    those of `schemas.examples.checksum`. `merge` is None in records that an earlier version has
    written: then each partition is learned up to its clock. `unmerged` questions of history were
    learned after later ones, and `scores` are those of the open questions that the trainer has
    scored, in the order of partition and due time: float64, little-endian. `standing` says which
    model scores; it is None in records of earlier versions.
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
    merge: Merge | None = None
    unmerged: int = 0
    scores: bytes = b""
    standing: Standing | None = None


class _Source:
    """What is known of one source partition."""

    def __init__(self, task: Task, max_open: int, clock: SourceClock) -> None:
        self.questions = OpenQuestions(task, max_open)
        self.clock = clock
        self.asked_to = -1  # the offset of the last question
        self.asked_again_to = -1  # the same, of the records that are folded a second time


class TaskFold:
    """Folds the records of one definition's tag, in the order of the log.

    At most `max_waiting` questions that are due wait for other source partitions.
    """

    def __init__(
        self,
        task: Task,
        learners: Sequence[Learner],
        begin: int,
        progress: Progress | None = None,
        max_open: int | None = None,
        max_waiting: int | None = None,
    ) -> None:
        self.task = task
        self.lineup = Lineup(task, learners, begin)
        self.counts = Counts()
        self.unmerged = 0
        self.checksum = self.asked_checksum = 0
        self.position = self.begin = begin
        most = max_waiting_of(len(task.features))
        self._max_waiting = most if max_waiting is None else max_waiting
        self._max_open = MAX_ASKED + self._max_waiting if max_open is None else max_open
        self._clocks = SourceClocks()
        self._sources: dict[int, _Source] = {}
        self._kept_scores: Float64s | None = None  # until the questions are open again
        if progress is not None:
            self._resume(progress)

    def fold(self, examples: Examples, offset: int) -> None:
        """Fold the record at `offset` of the log.

        A fold that resumes must be given the records from `open_from` on again. Those below its
        position only open their questions again: nothing is learned or counted twice.
        """
        source = self._source(examples.partition)
        if offset < self.position:
            self._reopen(source, examples, offset)
            return
        self._restore_scores()
        self.position = offset + 1
        self._count(examples)
        at = FoldedRecord(offset, examples.clock, self.counts.learned)
        if self.lineup.obey(examples.serving, at):
            self._forfeit()
        new = self._new(source, examples)
        self.asked_checksum = added(self.asked_checksum, checksum(examples.partition, new.offsets))
        in_time = source.questions.in_time(new, source.clock.limit)
        late = len(new.offsets) - len(in_time.offsets)
        dropped = source.questions.take_in(
            in_time, examples.model_version, offset, _scorer(examples), history=examples.history
        )
        self.counts.asked += len(new.offsets)
        self.counts.dropped += dropped + late
        outcomes = _as_of(examples.outcomes, source.clock.limit)
        self.counts.late_outcomes += source.questions.answer(outcomes)
        merged_to = self._clocks.merged_to
        self._clocks.take_in(
            examples.partition, examples.clock, examples.partitions, history=examples.history
        )
        self._make_room()
        self._learn(at, merged_to)

    def adopt_scores(self, scores: bytes) -> None:
        """Take over the `Progress.scores` of another fold of the same records."""
        self._restore_scores()
        self._kept_scores = _floats(scores)
        self._restore_scores()

    def progress(self, position: int) -> Progress:
        """Return how far the fold is, given that the log below `position` is folded."""
        self._restore_scores()
        sources = sorted(self._sources.items())
        opened = [source.questions.first_record for _, source in sources]
        return Progress(
            position,
            self.begin,
            min((record for record in opened if record is not None), default=position),
            tuple(number for number, _ in sources),
            tuple(source.clock.clock for _, source in sources),
            tuple(source.asked_to for _, source in sources),
            replace(self.counts),
            self.checksum,
            self.asked_checksum,
            self._clocks.merge(),
            self.unmerged,
            b"".join(
                source.questions.scores_of(keys).astype("<f8").tobytes()
                for source, keys in self._scored_by_trainer()
            ),
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
        self.unmerged = progress.unmerged
        clocks = progress.clocks
        merge = progress.merge or Merge(NOT_BEGUN, 0, (False,) * len(clocks), clocks)
        self._clocks.resume(progress.partitions, clocks, merge)
        for number, asked_to in zip(progress.partitions, progress.asked_to, strict=True):
            self._source(number).asked_to = asked_to
        self._kept_scores = _floats(progress.scores)
        if progress.standing is not None:
            self.lineup.championship.resume(progress.standing)

    def _source(self, number: int) -> _Source:
        source = self._sources.get(number)
        if source is None:
            source = _Source(self.task, self._max_open, self._clocks.of(number))
            self._sources[number] = source
        return source

    def _scored_by_trainer(self) -> Iterator[tuple[_Source, Int64s]]:
        """Yield the open questions that the trainer has scored, in the order of partitions."""
        for _, source in sorted(self._sources.items()):
            yield source, source.questions.scored_by_trainer(source.clock.limit)

    def _restore_scores(self) -> None:
        """Give the questions that are open again their scores.

        If not all of them are kept, the champion is learned again, which brings them.
        """
        kept, self._kept_scores = self._kept_scores, None
        if kept is None:
            return
        scored = list(self._scored_by_trainer())
        if sum(len(keys) for _, keys in scored) != len(kept):
            return
        for source, keys in scored:
            source.questions.set_scores(keys, kept[: len(keys)])
            kept = kept[len(keys) :]

    def _reopen(self, source: _Source, examples: Examples, offset: int) -> None:
        """Take in what is still open; what is due by the clock was learned already."""
        asked = examples.questions
        begin = int(np.searchsorted(asked.offsets, source.asked_again_to, side="right"))
        if len(asked.offsets):
            source.asked_again_to = max(source.asked_again_to, int(asked.offsets[-1]))
        again = asked.rows(begin, len(asked.offsets))
        scorer = _scorer(examples)
        source.questions.take_in(
            again, examples.model_version, offset, scorer, history=examples.history
        )
        source.questions.answer(examples.outcomes)
        source.questions.take_due(source.clock.limit)

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

    def _make_room(self) -> None:
        """Let the earliest of the questions that wait be learned, if too many do."""
        if not self._clocks.merging:
            return
        waiting = [
            source.questions.due_between(self._clocks.next_limit(number), source.clock.clock)
            for number, source in self._sources.items()
        ]
        over = sum(map(len, waiting)) - self._max_waiting
        if over > 0:
            due_at = np.partition(np.concatenate(waiting), over - 1)
            self._clocks.merged_to = max(self._clocks.merged_to, int(due_at[over - 1]))

    def _learn(self, at: FoldedRecord, merged_to: int) -> None:
        """Learn what is due now, and score what was asked meanwhile, all in the order of time.

        `merged_to` is up to where partitions were merged before the record.
        """
        steps = []
        for number, source in self._sources.items():
            since, limit = source.clock.limit, self._clocks.next_limit(number)
            unscored = source.questions.unscored(since, limit, at.offset)
            due = source.questions.take_due(limit)
            source.clock.limit = limit
            if len(due.keys) or len(unscored.keys):
                steps.append(Step(number, due, unscored))
        if not steps:
            return
        numbers, due = merged(steps)
        is_late = (due.score_at != SERVED) & (due.due_at <= merged_to)
        self.unmerged += int(is_late.sum())
        answered = ~np.isnan(due.values)
        if self.task.target == "value":
            self.counts.unanswered += int((~answered).sum())
            numbers, due, answered = numbers[answered], due.filter(answered), answered[answered]
        labels = _labels(self.task.target, due, answered)
        lesson = Lesson(due.features, labels, due.scores, due.versions, due.scorers)
        reign = self.lineup.championship.reign
        scores = self.lineup.teach(lesson._replace(asked=asked_of(steps, due)), at)
        if self.lineup.championship.reign != reign:
            self._forfeit()
        if scores is not None:
            for step, of in split(steps, scores):
                self._sources[step.number].questions.set_scores(step.unscored.keys, of)
        self.counts.learned += len(labels)
        for number in np.unique(numbers).tolist():
            learned = checksum(number, due.offsets[numbers == number])
            self.checksum = added(self.checksum, learned)

    def _forfeit(self) -> None:
        """Let what the former champion has said of questions of history not count for the new."""
        for source in self._sources.values():
            source.questions.forfeit(source.clock.limit)


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


def _as_of(outcomes: Outcomes, clock: int) -> Outcomes:
    """Return outcomes as of a clock that may have gone on without events."""
    return outcomes._replace(clocks=np.maximum(outcomes.clocks, clock))


def _floats(data: bytes) -> Float64s:
    return np.frombuffer(data, "<f8").astype(np.float64)
