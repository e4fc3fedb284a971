"""History is learned in the order of time over all source partitions, however it is read."""

import random
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import evaluate, metrics

from pipelines.trainer.fold import Counts, TaskFold
from pipelines.trainer.learner import Judged, Lesson
from pipelines.trainer.model_codec import spec_named
from pipelines.trainer.model_learner import ModelLearner
from schemas.examples.columns import Examples, Outcomes, Questions, Task
from schemas.settings import Settings
from tests.oracles.training import judge
from tests.pipelines.examples import Recorder, Seen, Source, histories, task, tasks
from tests.pipelines.models.as_river import pipeline, same_bits, state
from tests.pipelines.river_training import loss_in, state_in
from tests.pipelines.training import Training, a_history, some_events, store_examples


class Champion(Recorder):
    """Its score of a question is how many examples it has learned."""

    def __init__(self, of: Task, learned: Sequence[tuple[float, ...]] = ()) -> None:
        super().__init__(of.models[0], learned)

    def learn(self, lesson: Lesson) -> Judged:
        if lesson.asked is None:
            return super().learn(lesson)
        scores = len(self.learned) + lesson.asked.after.astype(np.float64)
        in_lesson = lesson.asked.places >= 0
        lesson.scores[lesson.asked.places[in_lesson]] = scores[in_lesson]
        return super().learn(lesson)._replace(asked_scores=scores)


def word(source: Source, partitions: int, *, history: bool, position: int = 0) -> Examples:
    """What a source partition says of its history, without any event."""
    nothing = Questions.none(len(source.task.features)), Outcomes.none()
    return Examples(
        source.task, source.number, position, 0, *nothing, history=history, partitions=partitions
    )


def backfilled(
    source: Source, partitions: int, ends: Iterable[int], history: int
) -> list[Examples]:
    """The records of a source partition whose first events are history, cut at will."""
    ends = {0, *ends, history, len(source.clocks)}
    bounds = sorted(end for end in ends if end <= len(source.clocks))
    records = [
        source.record(begin, end)._replace(history=end <= history, partitions=partitions)
        for begin, end in pairwise(bounds)
    ]
    is_past = sum(record.history for record in records)
    live = word(source, partitions, history=False, position=history)
    first = word(source, partitions, history=True)
    return [first, *records[:is_past], live, *records[is_past:]]


def shuffled(queues: Sequence[list[Examples]], seed: int) -> list[Examples]:
    """The records of some source partitions, each partition's in order."""
    queues = [list(queue) for queue in queues]
    turns = [number for number, queue in enumerate(queues) for _ in queue]
    random.Random(seed).shuffle(turns)
    return [queues[number].pop(0) for number in turns]


def folded(
    of: Task, log: Iterable[Examples], max_waiting: int | None = None
) -> tuple[TaskFold, Champion]:
    champion = Champion(of)
    fold = TaskFold(of, [champion], 0, max_waiting=max_waiting)
    for offset, examples in enumerate(log):
        fold.fold(examples, offset)
    return fold, champion


def finer(source: Source, record: Examples, begin: int) -> list[Examples]:
    """A record as one record for each of its events."""
    if begin >= record.position:
        return [record]
    return [
        source.record(at, at + 1)._replace(history=record.history, partitions=record.partitions)
        for at in range(begin, record.position)
    ]


def in_order(sources: Sequence[Source]) -> list[tuple[float, float, float]]:
    """What is learned of history in the order of time, with how many were learned when asked."""
    found = []
    for source in sources:
        of, by_offset = source.task, {one.offset: one for one in source.asked}
        asked, happened, clock = source.asked, source.happened, source.clocks[-1]
        judged = judge(asked, happened, clock, of.target, of.horizon_ms, of.lateness_ms)
        for one in judged.learned:
            question = by_offset[one.offset]
            found.append((question.at, source.number, one, source.moment(question)))
    found.sort(key=lambda one: (*one[:2], one[2].offset))
    wait = sources[0].task.horizon_ms + sources[0].task.lateness_ms + 1
    due = [at + wait for at, *_ in found]
    return [
        (one.offset, one.label, float(sum(at <= moment for at in due)))
        for _, _, one, moment in found
    ]


@given(tasks, st.lists(histories, min_size=1, max_size=3), st.data())
def test_history_is_learned_in_the_order_of_time_however_it_is_read_and_cut(
    of: Task, histories: list[list[Seen]], data: st.DataObject
) -> None:
    sources = [Source(of, number, history) for number, history in enumerate(histories)]
    cuts = [data.draw(st.sets(st.integers(1, 40))) for _ in sources]
    queues = [
        backfilled(source, len(sources), ends, len(source.clocks))
        for source, ends in zip(sources, cuts, strict=True)
    ]
    fold, champion = folded(of, shuffled(queues, data.draw(st.integers(0, 99))))
    assert champion.learned == in_order(sources)
    assert fold.unmerged == 0
    assert fold.counts.learned == len(champion.learned)


@given(tasks, st.lists(histories, min_size=1, max_size=3), st.integers(0, 4), st.data())
def test_records_that_are_cut_differently_teach_the_same_even_if_too_many_questions_wait(
    of: Task, histories: list[list[Seen]], max_waiting: int, data: st.DataObject
) -> None:
    sources = [Source(of, number, history) for number, history in enumerate(histories)]
    queues = []
    for source in sources:
        history = data.draw(st.integers(0, len(source.clocks)))
        ends = data.draw(st.sets(st.integers(1, 40)))
        queues.append(backfilled(source, len(sources), ends, history))
    log = shuffled(queues, data.draw(st.integers(0, 99)))
    positions, fine = [0] * len(sources), []
    for record in log:
        number = record.partition
        fine += finer(sources[number], record, positions[number])
        positions[number] = max(positions[number], record.position)

    whole, champion = folded(of, log, max_waiting)
    cut, other = folded(of, fine, max_waiting)
    assert other.learned == champion.learned
    assert (cut.unmerged, cut.checksum, cut.open) == (whole.unmerged, whole.checksum, whole.open)
    assert _asked(cut.counts) == _asked(whole.counts)
    assert whole.counts.dropped == 0


def _asked(counts: Counts) -> tuple[int, ...]:
    return counts.asked, counts.learned, counts.unanswered, counts.late_outcomes


@given(tasks, st.lists(histories, min_size=1, max_size=3), st.integers(0, 9), st.data())
def test_a_fold_that_resumes_in_history_goes_on_as_if_it_had_never_stopped(
    of: Task, histories: list[list[Seen]], max_waiting: int, data: st.DataObject
) -> None:
    sources = [Source(of, number, history) for number, history in enumerate(histories)]
    queues = []
    for source in sources:
        history = data.draw(st.integers(0, len(source.clocks)))
        ends = data.draw(st.sets(st.integers(1, 40)))
        queues.append(backfilled(source, len(sources), ends, history))
    log = shuffled(queues, data.draw(st.integers(0, 99)))
    whole, champion = folded(of, log, max_waiting)

    published = data.draw(st.integers(1, len(log)))
    before, learned = folded(of, log[:published], max_waiting)
    progress = before.progress(published)
    again = Champion(of, learned.learned)
    resumed = TaskFold(of, [again], progress.begin, progress, max_waiting=max_waiting)
    for offset in range(progress.open_from, len(log)):
        resumed.fold(log[offset], offset)
    assert again.learned == champion.learned
    assert resumed.progress(99) == whole.progress(99)


def test_what_waits_is_bounded_and_what_is_learned_late_is_counted() -> None:
    of = task()
    ahead = Source(of, 0, [Seen(at, at % 9 + 1, asks=True) for at in range(1_000)])
    behind = Source(of, 1, [Seen(at, at % 9 + 1, asks=True) for at in range(500)])
    queues = [backfilled(one, 2, range(0, 1_000, 50), len(one.clocks)) for one in (ahead, behind)]
    fold, champion = folded(of, queues[0] + queues[1], max_waiting=100)
    read, _ = folded(of, queues[0], max_waiting=100)
    assert read.open == 100 + 16  # those that wait, and those that are not due
    assert read.counts.learned == 1_000 - 116
    assert fold.unmerged == len(behind.asked) - 16 == len(champion.learned) - (1_000 - 16)


def test_a_partition_that_has_sent_nothing_yet_is_waited_for() -> None:
    of = task()
    source = Source(of, 0, [Seen(at, 1, asks=True) for at in range(100)])
    empty = Source(of, 1, [Seen(0, 1)])
    log = backfilled(source, 2, [], 100)
    fold, champion = folded(of, log)
    assert champion.learned == []
    for offset, record in enumerate((word(empty, 2, history=True), word(empty, 2, history=False))):
        assert champion.learned == []
        fold.fold(record, len(log) + offset)
    assert len(champion.learned) == 100 - 16


def test_records_of_an_earlier_version_wait_for_no_partition() -> None:
    source = Source(task(), 3, [Seen(at, 1, asks=True) for at in range(100)])
    fold, champion = folded(source.task, [source.record(0, 50)])
    assert len(champion.learned) == 50 - 16
    fold.fold(source.record(50, 100)._replace(partitions=8), 1)
    assert len(champion.learned) == 100 - 16


@pytest.mark.parametrize("target", ["performs", "does_not", "value"])
def test_figures_of_history_equal_delayed_progressive_validation_by_river(target: Any) -> None:
    of = task(target, horizon_ms=160, lateness_ms=48)
    # No questions of two partitions are due at one time: River would take first what was asked
    # first, where we take the lower partition.
    sources = [
        Source(
            of, number, [seen._replace(at=4 * seen.at + number) for seen in some_events(of, number)]
        )
        for number in range(3)
    ]
    queues = [
        backfilled(source, 3, range(0, 600, 70 + source.number), len(source.clocks))
        for source in sources
    ]
    spec = spec_named(of.models[0])
    champion = ModelLearner.new(of, spec)
    fold = TaskFold(of, [champion], 0)
    for offset, examples in enumerate(shuffled(queues, 1)):
        fold.fold(examples, offset)
    assert fold.unmerged == 0

    dataset = []
    for source in sources:
        asked = {one.offset: one for one in source.asked}
        judged = judge(
            source.asked, source.happened, source.clocks[-1], target, of.horizon_ms, of.lateness_ms
        )
        for one in judged.learned:
            question = asked[one.offset]
            row = np.array(question.features, np.float32).tolist()
            label: Any = bool(one.label) if spec.predicts_outcome else one.label
            at = source.moment(question), source.number, one.offset
            due = question.at + of.horizon_ms + of.lateness_ms + 1
            dataset.append((at, (dict(zip(of.features, row, strict=True)), label), due))
    dataset.sort(key=lambda one: one[0])
    moments = iter([(at[0], due) for at, _, due in dataset])
    now = 0, 0

    def moment(_: Any) -> int:
        nonlocal now
        now = next(moments)
        return now[0]

    river = pipeline(spec)
    metric: Any = metrics.LogLoss() if spec.predicts_outcome else metrics.MAE()
    pairs: list[Any] = [pair for _, pair, _ in dataset]
    for _ in evaluate.iter_progressive_val_score(
        pairs, river, metric, moment=moment, delay=lambda _x, _y: now[1] - now[0]
    ):
        pass
    assert len(pairs) > 200
    assert champion.served is not None
    assert same_bits([loss_in(champion.served)], [metric.get()])
    assert same_bits(state_in(champion.model.arrays()), state(river))


@pytest.mark.parametrize("model", ["logistic_sgd_0.003", "hoeffding_tree"])
def test_a_trainer_that_restarts_in_history_has_the_same_scores_in_the_end(
    settings: Settings, model: str
) -> None:
    of = task(horizon_ms=160, lateness_ms=48)._replace(models=(model, "base_rate"))
    sources = [a_history(of, number, 300) for number in range(3)]
    queues = [
        backfilled(source, 3, range(0, 300, 20 + source.number), 200 + 20 * source.number)
        for source in sources
    ]
    log = shuffled(queues, 4)
    store_examples(settings, log)
    whole = Training(settings).fold()
    expected, served = whole.fold_of(of).progress(99), whole.model_of(of, model).served
    whole.close()
    assert served is not None

    training, now, open_scores = Training(settings).fold(2).commit(0), 0, 0
    while training.position < len(log):
        training.fold(11)
        now += 100_000
        training = training.commit(now).restarted()
        training.learn_again()
        open_scores += len(training.fold_of(of).progress(0).scores)
    again = training.model_of(of, model).served
    assert open_scores > 0
    assert training.fold_of(of).progress(99) == expected
    assert again is not None
    for name, column in served.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], column)
    training.close()
