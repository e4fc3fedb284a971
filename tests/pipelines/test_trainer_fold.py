"""The fold of examples: labels, order and counts, in any records, resumed anywhere."""

import random
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.trainer.fold import TaskFold
from pipelines.trainer.questions import OpenQuestions
from schemas.examples.columns import Examples, Target, Task
from tests.oracles.training import Judged, checksum, judge
from tests.pipelines.examples import (
    Recorder,
    Seen,
    Source,
    histories,
    outcomes_of,
    task,
    tasks,
)

H, L = 10, 5


def judged(source: Source) -> Judged:
    of, clock = source.task, source.clocks[-1]
    return judge(source.asked, source.happened, clock, of.target, of.horizon_ms, of.lateness_ms)


def interleaved(sources: list[Source], cuts: list[set[int]], seed: int) -> list[Examples]:
    """The records of some source partitions, each partition's in order."""
    queues = [source.cut(ends) for source, ends in zip(sources, cuts, strict=True)]
    turns = [number for number, queue in enumerate(queues) for _ in queue]
    random.Random(seed).shuffle(turns)
    return [queues[number].pop(0) for number in turns]


def folded(of: Task, log: list[Examples]) -> tuple[TaskFold, Recorder]:
    recorder = Recorder()
    fold = TaskFold(of, [recorder], 0)
    for offset, examples in enumerate(log):
        fold.fold(examples, 2 * offset)
    return fold, recorder


def labels(history: list[Seen], target: Target = "performs") -> list[float]:
    """The labels that are learned of a person's events."""
    source = Source(task(target, H, L), 0, history)
    _, recorder = folded(source.task, source.cut([]))
    return [label for _, label, _ in recorder.learned]


PASSES = Seen(1_000, 9)  # lets time pass


@given(
    tasks,
    st.lists(histories, min_size=1, max_size=3),
    st.data(),
)
def test_what_is_learned_is_what_the_oracle_learns(
    of: Task, histories: list[list[Seen]], data: st.DataObject
) -> None:
    sources = [Source(of, number, history) for number, history in enumerate(histories)]
    cuts = [data.draw(st.sets(st.integers(1, 40))) for _ in sources]
    log = interleaved(sources, cuts, data.draw(st.integers(0, 9)))
    fold, recorder = folded(of, log)

    expected = [judged(source) for source in sources]
    # The first feature of a question is its offset; partitions are recognized by their order.
    by_source: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
    rows = iter(recorder.learned)
    single = [folded(of, [one for one in log if one.partition == s.number])[1] for s in sources]
    for source, alone in zip(sources, single, strict=True):
        by_source[source.number] = [(offset, label) for offset, label, _ in alone.learned]
        assert by_source[source.number] == [
            (one.offset, one.label) for one in expected[source.number].learned
        ]
    assert sorted(rows) == sorted(row for alone in single for row in alone.learned)

    counts = fold.counts
    assert counts.asked == sum(len(source.asked) for source in sources)
    assert counts.learned == sum(len(one.learned) for one in expected)
    assert counts.unanswered == sum(len(one.unanswered) for one in expected)
    assert fold.open == sum(len(one.open) for one in expected)
    assert counts.asked == counts.learned + counts.unanswered + fold.open
    assert counts.late_outcomes == sum(one.late_outcomes for one in expected)
    assert counts.dropped == counts.repeated == 0
    records = len(log)
    assert (counts.capped, counts.sampled_out, counts.late_triggers) == (
        records,
        2 * records,
        3 * records,
    )
    ids = [
        (s.number, one.offset) for s, e in zip(sources, expected, strict=True) for one in e.learned
    ]
    assert fold.checksum == checksum(ids)
    assert fold.asked_checksum == checksum(
        [(source.number, one.offset) for source in sources for one in source.asked]
    )


@given(tasks, histories, st.sets(st.integers(1, 40)))
def test_scores_and_features_stay_with_their_questions(
    of: Task, history: list[Seen], ends: set[int]
) -> None:
    source = Source(of, 0, history)
    _, recorder = folded(of, source.cut(ends))
    assert [score for _, _, score in recorder.learned] == [
        one.offset / 10_000 for one in judged(source).learned
    ]


@given(tasks, st.lists(histories, min_size=1, max_size=3), st.data())
def test_a_fold_that_resumes_anywhere_learns_as_if_it_had_never_stopped(
    of: Task, histories: list[list[Seen]], data: st.DataObject
) -> None:
    sources = [Source(of, number, history) for number, history in enumerate(histories)]
    cuts = [data.draw(st.sets(st.integers(1, 40))) for _ in sources]
    log = interleaved(sources, cuts, data.draw(st.integers(0, 9)))
    whole, recorder = folded(of, log)

    published = data.draw(st.integers(1, len(log)))
    before, learned = folded(of, log[:published])
    progress = before.progress(2 * published - 1)
    again = Recorder(learned=learned.learned)
    resumed = TaskFold(of, [again], progress.begin, progress)
    # Restoring reads from the earliest offset of all definitions, which may be before this one's.
    first = data.draw(st.integers(0, progress.open_from // 2))
    for offset, examples in enumerate(log):
        if offset >= first:
            resumed.fold(examples, 2 * offset)
    assert again.learned == recorder.learned
    assert resumed.progress(99) == whole.progress(99)
    # and once more, so that what is published after a restore serves the next one as well
    progress = resumed.progress(2 * len(log))
    last = TaskFold(of, [], progress.begin, progress)
    for offset in range(progress.open_from // 2, len(log)):
        last.fold(log[offset], 2 * offset)
    assert last.progress(99) == whole.progress(99)
    assert last.open == whole.open


def test_the_last_millisecond_of_the_horizon_is_positive_the_next_one_negative() -> None:
    asks = Seen(100, 1, asks=True)
    assert labels([asks, Seen(100 + H, 1, value=1.0), PASSES]) == [1.0]
    assert labels([asks, Seen(100 + H + 1, 1, value=1.0), PASSES]) == [0.0]
    assert labels([asks, Seen(100 + H, 1, value=1.0), PASSES], "does_not") == [0.0]
    assert labels([asks, Seen(100 + H + 1, 1, value=1.0), PASSES], "does_not") == [1.0]
    assert labels([asks, Seen(100 + H, 1, value=4.0), PASSES], "value") == [4.0]
    assert labels([asks, Seen(100 + H + 1, 1, value=4.0), PASSES], "value") == []


def test_an_event_does_not_answer_the_question_that_it_asks() -> None:
    both = Seen(100, 1, asks=True, value=1.0)
    assert labels([both, PASSES]) == [0.0]
    assert labels([both, both, PASSES]) == [1.0, 0.0]


def test_nothing_is_learned_before_an_event_in_time_can_no_longer_come() -> None:
    asks = Seen(100, 1, asks=True)
    due = 100 + H + L
    assert labels([asks, Seen(due, 2)]) == []
    assert labels([asks, Seen(due + 1, 2)]) == [0.0]
    # As late as the lateness allows: the clock is at the very end when the outcome comes.
    assert labels([asks, Seen(due, 2), Seen(100 + H, 1, value=1.0), PASSES]) == [1.0]


def test_an_outcome_that_comes_late_answers_until_the_question_is_due() -> None:
    def fold_of(*history: Seen) -> tuple[TaskFold, list[float]]:
        source = Source(task("performs", H, L), 0, history)
        fold, recorder = folded(source.task, source.cut(range(len(history))))
        return fold, [label for _, label, _ in recorder.learned]

    asks, late = Seen(100, 1, asks=True), Seen(101, 1, value=1.0)
    fold, learned = fold_of(asks, Seen(110, 2), late, PASSES)
    assert (learned, fold.counts.late_outcomes) == ([1.0], 0)  # late, but in time for the question
    fold, learned = fold_of(asks, Seen(116, 2), late, PASSES)
    assert (learned, fold.counts.late_outcomes) == ([0.0], 1)


def test_one_outcome_answers_every_open_question_of_its_person() -> None:
    history = [Seen(at, person, asks=True) for at in (100, 103, 106) for person in (1, 2)]
    history += [Seen(112, 1, value=1.0), PASSES]
    assert labels(history) == [0.0, 0.0, 1.0, 0.0, 1.0, 0.0]


def test_the_earliest_value_is_learned_not_the_first_to_come() -> None:
    asks = Seen(100, 1, asks=True)
    later, earlier = Seen(109, 1, value=9.0), Seen(104, 1, value=4.0)
    assert labels([asks, later, earlier, PASSES], "value") == [4.0]
    assert labels([asks, later, Seen(109, 1, value=8.0), PASSES], "value") == [9.0]
    assert labels([asks, PASSES], "value") == []


def test_a_source_partition_that_asks_its_history_again_teaches_nothing_twice() -> None:
    source = Source(task(), 0, [Seen(at, 1, asks=True, value=1.0) for at in range(0, 100, 7)])
    log = source.cut([5])
    once, recorder = folded(source.task, log)
    twice, again = folded(source.task, [*log, *log])
    assert again.learned == recorder.learned
    assert twice.counts.repeated == len(source.asked)
    assert twice.checksum == once.checksum


def test_the_questions_that_are_due_first_make_room_in_a_store_that_is_full() -> None:
    of = task()
    source = Source(of, 0, [Seen(at, at, asks=True) for at in range(9)])
    questions = source.record(0, 9).questions
    store = OpenQuestions(of, max_open=4)
    assert store.take_in(questions.rows(0, 3), 0, 0) == 0
    assert store.take_in(questions.rows(3, 9), 0, 1) == 5
    assert store.offsets.tolist() == [5, 6, 7, 8]
    assert store.take_due(10_000).offsets.tolist() == [5, 6, 7, 8]
    assert store.first_record is None


@given(histories, st.integers(1, 6), st.data())
def test_a_full_store_resumes_with_the_same_questions(
    history: list[Seen], max_open: int, data: st.DataObject
) -> None:
    source = Source(task(), 0, history)
    log = source.cut(range(1, 40))

    def fold_of(records: list[Examples], begin: int = 0, fold: TaskFold | None = None) -> TaskFold:
        fold = fold or TaskFold(source.task, [], 0, max_open=max_open)
        for offset, examples in enumerate(records, begin):
            fold.fold(examples, offset)
        return fold

    published = data.draw(st.integers(1, len(log)))
    progress = fold_of(log[:published]).progress(published)
    resumed = TaskFold(source.task, [], progress.begin, progress, max_open)
    fold_of(log[progress.open_from :], progress.open_from, resumed)
    assert resumed.progress(99) == fold_of(log).progress(99)


def test_a_person_with_thousands_of_open_questions_is_answered_quickly() -> None:
    of = task("value", 1_000_000, 0)
    store = OpenQuestions(of)
    source = Source(of, 0, [Seen(at, 1, asks=True, value=1.0) for at in range(60_000)])
    for begin in range(0, 60_000, 2_000):
        record = source.record(begin, begin + 2_000)
        store.take_in(record.questions, 0, 0)
        assert store.answer(record.outcomes) == 0
    assert store.answer(outcomes_of([])) == 0
    assert len(store) == 52_000


@pytest.mark.parametrize("features", [1, 256])
def test_memory_is_bounded_by_the_open_questions(features: int) -> None:
    of = task()._replace(features=tuple(f"f{n}" for n in range(features)))
    source = Source(of, 0, [Seen(at, 1, asks=True) for at in range(20_000)])
    store = OpenQuestions(of)
    for begin in range(0, 20_000, 500):
        store.take_in(source.record(begin, begin + 500).questions, 0, 0)
        store.take_due(begin + 500)
    assert store.nbytes < 4_000 * (4 * features + 80)


def test_a_question_that_comes_below_a_clock_that_went_on_without_events_is_not_learned() -> None:
    source = Source(task(), 0, [Seen(100, 1, asks=True), Seen(101, 1, asks=True, value=1.0)])
    before, after = source.cut([1])
    told = before._replace(clock=200, questions=before.questions.rows(0, 0))
    fold, recorder = folded(source.task, [before, told, after])
    assert [label for _, label, _ in recorder.learned] == [0.0]
    assert (fold.counts.asked, fold.counts.learned, fold.counts.dropped) == (2, 1, 1)
    assert (fold.counts.late_outcomes, fold.open) == (1, 0)
    progress = fold.progress(9)
    assert TaskFold(source.task, [], 0, progress).progress(9) == progress
