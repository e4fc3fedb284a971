"""The trainer on a real broker: models equal River's, through restarts, refusals and ends."""

import pickle
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.trainer.events import ModelEvent
from pipelines.trainer.examples_reader import SKIPPED, Logged
from pipelines.trainer.fold import TaskFold
from pipelines.trainer.model_codec import RecordCodec, spec_named
from pipelines.trainer.model_learner import ModelLearner
from pipelines.trainer.model_log import StoredModel, TaskId, model_key, parse_model_key
from pipelines.trainer.partition import TrainerPartition
from schemas.avro import files
from schemas.avro.codec import Codec
from schemas.errors import InvalidRequest
from schemas.examples.columns import Examples, Outcomes, Questions, Serving, Target, Task
from schemas.model_record import Reign
from schemas.model_spec import ModelSpec
from schemas.settings import Settings
from services.broker import Broker
from tests.kafka import Record, read_all
from tests.oracles.training import checksum
from tests.pipelines.examples import Seen, Source, histories, task, tasks
from tests.pipelines.in_process import produce, registry_of
from tests.pipelines.models.as_river import same_bits, state
from tests.pipelines.river_training import loss_in, river_after, state_in
from tests.pipelines.training import (
    PARTITION,
    Training,
    a_history,
    a_log,
    maturity_order,
    published,
    store_examples,
)

SGD = "logistic_sgd_0.003"


@pytest.mark.parametrize("target", ["performs", "does_not", "value"])
def test_a_model_equals_river_over_the_maturity_order_also_after_restarts(
    settings: Settings, target: Target
) -> None:
    of = task(target)
    sources = [a_history(of, number) for number in range(2)]
    log = a_log(sources)
    store_examples(settings, log)
    training = Training(settings).fold(3).commit(0)
    now = 0
    while training.position < len(log):
        training.fold(17)
        now += 700  # every other commit publishes
        training = training.commit(now).restarted()
    order = maturity_order(sources, log)
    spec = spec_named(of.models[0])
    assert len(order) > 80
    river = river_after(of, spec, sources, order)
    champion = training.model_of(of, of.models[0])
    assert same_bits(state_in(champion.model.arrays()), state(river.model))
    assert champion.served is not None
    assert same_bits([loss_in(champion.maturity)], [river.maturity.get()])
    assert same_bits([loss_in(champion.served)], [river.served.get()])
    challenger = training.model_of(of, of.models[1])
    assert (challenger.version, challenger.served) == (len(order), None)
    fold = training.fold_of(of)
    assert fold.counts.learned == len(order)
    assert fold.checksum == checksum([(number, one.offset) for number, one in order])
    training.commit(now + 1_000).close()
    record = published(settings)[model_key(TaskId.of(of), of.models[0])]
    assert record.learned == len(order)
    assert record.learned_ids[:8] == fold.checksum.to_bytes(8, "little")
    assert (record.position, record.feature_schema) == (len(log), of.feature_schema)


def test_a_trainer_without_examples_writes_nothing_and_reads_nothing(settings: Settings) -> None:
    training = Training(settings).fold().commit(5_000).restarted()
    assert (training.trainer.rows, training.trainer.nbytes) == (0, 0)
    assert not training.trainer.backfilling
    training.trainer.catch_up()
    training.close()
    assert read_all(settings.bootstrap, settings.topics.models.name) == []


def test_new_definitions_are_published_at_once_and_then_once_a_second(settings: Settings) -> None:
    of = task()
    log = a_log([a_history(of, 0)])
    store_examples(settings, log)
    training = Training(settings)
    versions = []
    for now in (10_000, 10_400, 10_999, 11_000, 11_900, 12_100):
        training.fold(9).commit(now)
        versions.append(published(settings)[model_key(TaskId.of(of), SGD)].position)
    training.commit(13_000).commit(14_000)
    assert versions == [9, 9, 9, 36, 36, 54]
    assert len(read_all(settings.bootstrap, settings.topics.models.name)) == 3 * len(of.models)
    training.close()


def test_trees_are_learned_again_after_a_restart_and_refused_records_too(
    settings: Settings,
) -> None:
    of = task()._replace(models=("hoeffding_tree", SGD, "gaussian_naive_bayes"))
    other = of._replace(prediction_id="other", models=("base_rate",))
    sources = [a_history(of, number) for number in range(2)]
    log = a_log(sources)
    store_examples(settings, [*log[:90], *a_log([a_history(other, 0)])[:20], *log[90:]])
    whole = Training(settings).fold().commit(0)
    expected = {name: whole.model_of(of, name).model.arrays() for name in of.models}
    whole.close()

    training = Training(settings).fold(100).commit(0)
    key = model_key(TaskId.of(of), SGD)
    evil = pickle.dumps(print)
    topic = settings.topics.models.name
    produce(settings, topic, [Record(evil, key, PARTITION), Record(evil, b"no/key", PARTITION)])
    with structlog.testing.capture_logs() as logs:
        training = training.restarted()
    assert [line["key"] for line in logs if line["event"] == "model refused"] == [key.decode()]
    training.fold(40)
    assert training.trainer.backfilling
    assert [one.name for one in training.fold_of(of).learners] == ["gaussian_naive_bayes"]
    training.commit(1_000)
    assert published(settings)[model_key(TaskId.of(of), "hoeffding_tree")].position == 100
    training.learn_again()
    training.fold()
    assert [one.name for one in training.fold_of(of).learners] == list(of.models)
    for name in of.models:
        arrays = training.model_of(of, name).model.arrays()
        assert all(same_bits(arrays[part], expected[name][part]) for part in expected[name])
    training.commit(2_000).close()
    found = published(settings)
    assert {found[model_key(TaskId.of(of), name)].position for name in of.models} == {len(log) + 20}


def test_a_definition_none_of_whose_models_can_be_read_is_folded_from_its_beginning(
    settings: Settings,
) -> None:
    of = task()._replace(models=(SGD,))
    sources = [a_history(of, 0)]
    log = a_log(sources)
    store_examples(settings, log)
    training = Training(settings).fold().commit(0)
    expected = training.fold_of(of).progress(0), state_in(training.model_of(of, SGD).model.arrays())
    key = model_key(TaskId.of(of), SGD)
    produce(settings, settings.topics.models.name, [Record(b"\0\0\0", key, PARTITION)])
    training = training.restarted()
    assert (
        training.fold_of(of).progress(0),
        state_in(training.model_of(of, SGD).model.arrays()),
    ) == expected
    training.commit(0).close()
    assert published(settings)[key].learned == expected[0].counts.learned


def test_models_of_another_log_or_beyond_the_committed_offset_are_not_continued(
    settings: Settings,
) -> None:
    of = task()
    log = a_log([a_history(of, 0)])
    store_examples(settings, log)
    training = Training(settings).fold(20).commit(0)
    learned = training.fold_of(of).progress(20)
    training.fold().commit(1_000)
    training.position = 20
    training = training.restarted()  # as if the group's offsets had been set back
    assert training.fold_of(of).progress(20) == learned
    training.trainer.bind("another")
    for _ in training.trainer.restore(PARTITION, 20, training._reader):
        pass
    assert training.fold_of(of).progress(20) == learned
    training.close()


def ended(of: Task, number: int, position: int) -> Examples:
    return Examples(
        of, number, position, 0, Questions.none(len(of.features)), Outcomes.none(), ended=True
    )


def test_the_models_of_a_definition_that_has_ended_are_deleted(settings: Settings) -> None:
    of, successor = task(), task()._replace(version=2, tag=9)
    sources = [a_history(of, number, 60) for number in range(2)]
    log = a_log(sources)
    store_examples(settings, [*log, *a_log([a_history(successor, 0)])])
    training = Training(settings).fold().commit(0)
    assert len(published(settings)) == 2 * len(of.models)
    # The first partition ends the definition; the other one still asks, and ends it later.
    more = a_history(of, 1, 90)
    store_examples(settings, [ended(of, 0, 60), more.record(60, 90)])
    training = training.fold().commit(1_000).restarted()
    assert (
        training.fold_of(of).counts.asked
        == training.fold_of(of).open
        + len([one for one in more.asked if one.offset >= 60])
        - training.fold_of(of).open
    )
    store_examples(settings, [ended(of, 1, 90)])
    training.fold().commit(2_000)
    keys = {parse_model_key(key)[0] for key in published(settings)}
    assert keys == {TaskId.of(successor)}
    training = training.restarted()
    assert TaskId.of(of) not in training.trainer._partitions[PARTITION].folds
    training.trainer.drop(PARTITION)
    assert training.trainer.rows == 0
    training.close()


def test_what_is_not_an_example_is_counted_and_stops_nothing(settings: Settings) -> None:
    of = task()
    source = a_history(of, 0)
    log = a_log([source])
    before = SKIPPED._value.get()
    longer = log[4]._replace(task=of._replace(horizon_ms=11))
    unknown = log[4]._replace(task=of._replace(prediction_id="x", models=("oracle",)))
    odd = log[4]._replace(task=of._replace(prediction_id="y", models=("running_mean",)))
    store_examples(settings, [b"", pickle.dumps(print), *log[:4], longer, unknown, odd, *log[4:]])
    with structlog.testing.capture_logs() as logs:
        training = Training(settings).fold().commit(0)
    assert SKIPPED._value.get() - before == 3
    failed = [line["definition"] for line in logs if line["event"] == "definition not learned"]
    assert failed == ["shop/x/1", "shop/y/1"]
    assert training.fold_of(of).counts.learned == len(maturity_order([source], log))
    assert {key.split(b"/")[1] for key in published(settings)} == {b"buys"}
    training.close()


def test_models_begin_again_when_features_are_computed_differently(settings: Settings) -> None:
    of = task()
    source = a_history(of, 0)
    log = a_log([source])
    later = of._replace(feature_schema="0f" * 32)
    store_examples(settings, [*log[:40], *(one._replace(task=later) for one in log[40:])])
    training = Training(settings).fold(45).commit(0).restarted().fold()
    fold = training.fold_of(of)
    assert (fold.task, fold.begin) == (later, 40)
    assert fold.counts.asked == sum(len(one.questions.offsets) for one in log[40:])
    training.commit(1_000)
    assert published(settings)[model_key(TaskId.of(of), SGD)].feature_schema == "0f" * 32
    training.close()


@hypothesis_settings(deadline=None)
@given(tasks, st.lists(histories, min_size=1, max_size=2), st.data())
def test_records_restore_a_partition_wherever_it_was_published_and_committed(
    broker: Broker, of: Task, histories: list[Any], data: st.DataObject
) -> None:
    codec = RecordCodec(registry_of(broker.bootstrap), "models")
    sources = [Source(of, number, history) for number, history in enumerate(histories)]
    log = a_log(sources, data.draw(st.integers(0, 9)))
    partition, kept = TrainerPartition(codec), dict[str, StoredModel]()
    committed = 0
    for offset, examples in enumerate(log):
        if offset == committed and data.draw(st.booleans()):  # it crashes and comes back
            partition = TrainerPartition(codec, committed, _stored(of, kept))
            begin = min((one.progress.open_from for one in kept.values()), default=committed)
            for again in range(begin, committed):
                partition.fold(Logged(again, log[again]))
        partition.fold(Logged(offset, examples))
        if data.draw(st.booleans()):
            committed = offset + 1
            for fold in partition.due(data.draw(st.sampled_from([0, 5_000, 10_000]))):
                progress = fold.progress(committed)
                for learner in fold.learners:
                    value = codec.encode(of, learner, progress, "log")
                    kept[learner.name] = codec.decode(value)
    whole = TrainerPartition(codec)
    for offset, examples in enumerate(log):
        whole.fold(Logged(offset, examples))
    (ours,), (expected,) = partition.folds.values(), whole.folds.values()
    assert ours.progress(len(log)) == expected.progress(len(log))
    for learner, other in zip(ours.learners, expected.learners, strict=True):
        progress = expected.progress(len(log))
        assert codec.encode(of, learner, progress, "") == codec.encode(of, other, progress, "")


def _stored(of: Task, kept: dict[str, StoredModel]) -> dict[TaskId, list[StoredModel]]:
    return {TaskId.of(of): list(kept.values())} if kept else {}


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        (SGD, ModelSpec("logistic_sgd")),
        ("logistic_sgd_0.01", ModelSpec("logistic_sgd", 0.01)),
        ("logistic_adagrad_0.1_calibrated", ModelSpec("logistic_adagrad", calibrated=True)),
        ("linear_regression_1e-05", ModelSpec("linear_regression", 1e-05)),
        ("decayed_base_rate", ModelSpec("decayed_base_rate")),
        ("hoeffding_tree_calibrated", ModelSpec("hoeffding_tree", calibrated=True)),
    ],
)
def test_the_name_of_a_model_says_all_of_its_spec(name: str, spec: ModelSpec) -> None:
    assert spec_named(name) == spec
    assert spec.name == name


@pytest.mark.parametrize(
    "name",
    ["", "logistic_sgd", "logistic_sgd_nan", "base_rate_0.1", "os.system", "logistic_sgd_7.0"],
)
def test_other_names_are_no_models(name: str) -> None:
    with pytest.raises(InvalidRequest):
        spec_named(name)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(1, 99))
def test_keys_of_models_are_read_as_they_are_written(tag: int, version: int) -> None:
    id_ = TaskId("shop", "buys", version, tag)
    assert parse_model_key(model_key(id_, SGD)) == (id_, SGD)


def test_keys_that_are_not_ours_are_refused() -> None:
    for key in (b"", b"a/b/1/2/m", b"a/b/c/0000000000000000/m", b"\xff/b/1/0000000000000000/m"):
        with pytest.raises(ValueError, match=r".*"):
            parse_model_key(key)


def test_a_model_that_is_promoted_is_judged_from_then_on_also_after_restarts(
    settings: Settings,
) -> None:
    of = task()._replace(models=(SGD, "logistic_adagrad_0.1"))
    other = of.models[1]
    sources = [a_history(of, number) for number in range(2)]
    begin, scored = 50, 60  # by the other model, a little after it is promoted
    log = [
        one._replace(
            serving=Serving(2, other, 2) if place >= begin else Serving(1),
            scored_by=other if place >= scored else SGD,
        )
        for place, one in enumerate(a_log(sources))
    ]
    store_examples(settings, log)
    whole = Training(settings).fold()
    training, now = Training(settings).fold(3).commit(0), 0
    while training.position < len(log):
        training.fold(17)
        now += 700
        training = training.commit(now).restarted()

    order = maturity_order(sources, log)
    before = len(maturity_order(sources, log[:begin]))
    reign = Reign(other, begin, before, "command", SGD)
    served_by = {
        (log[place].partition, offset): log[place].scored_by
        for place in range(len(log))
        for offset in log[place].questions.offsets.tolist()
    }
    judged = [served_by[number, one.offset] == other for number, one in order[before:]]
    for one in (whole, training):
        assert one.fold_of(of).lineup.championship.reign == reign
        champion, demoted = one.model_of(of, other), one.model_of(of, SGD)
        assert champion.served is not None
        assert champion.drift is not None
        assert champion.drift.examples == len(order) - before
        assert champion.served.examples == sum(judged) > 0
        assert (demoted.served, demoted.drift) == (None, None)
    ours, theirs = (one.model_of(of, other).arrays() for one in (whole, training))
    assert all(same_bits(ours[name], theirs[name]) for name in ours)
    whole.close()
    training.commit(now + 1_000).close()
    assert {record.reign for record in published(settings).values()} == {reign}


def test_a_promotion_is_published_at_once(settings: Settings) -> None:
    of = task()._replace(models=(SGD, "logistic_adagrad_0.1"))
    log = a_log([a_history(of, 0)])
    named = Serving(2, of.models[1], 2)
    store_examples(settings, [*log[:40], *(one._replace(serving=named) for one in log[40:])])
    training = Training(settings).fold(20).commit(0).fold(19).commit(10)
    key = model_key(TaskId.of(of), SGD)
    assert published(settings)[key].position == 20
    training.fold(2).commit(20).close()
    assert published(settings)[key].position == 41


def test_the_rule_promotes_at_the_same_answer_wherever_the_trainer_is_restarted(
    settings: Settings,
) -> None:
    of = task("value")._replace(
        models=("linear_regression_1e-05", "linear_regression_0.01", "running_mean")
    )
    sources = [a_history(of, number, 2_000) for number in range(2)]
    rule = Serving(1, "", 0, 0.001, 100)
    log = [one._replace(serving=rule) for one in a_log(sources)]
    store_examples(settings, log)
    whole = Training(settings).fold()
    standing = whole.fold_of(of).lineup.championship.standing
    assert standing.reign.reason == "rule"
    assert standing.reign.model == of.models[1]
    assert standing.reign.learned % 100 == 0
    training, now = Training(settings).fold(3).commit(0), 0
    while training.position < len(log):
        training.fold(97)
        now += 700
        training = training.commit(now).restarted()
    assert training.fold_of(of).lineup.championship.standing == standing
    ours, theirs = (one.model_of(of, of.models[1]).arrays() for one in (whole, training))
    assert all(same_bits(ours[name], theirs[name]) for name in ours)
    whole.close()
    training.close()


def events_of(settings: Settings) -> list[ModelEvent]:
    """What is on the topic of events of models, in order."""
    topic = settings.topics.model_events.name
    codec = Codec(files.load("model-event"), registry_of(settings.bootstrap).find)
    messages = read_all(settings.bootstrap, topic)
    assert {message.key() for message in messages} <= {b"shop/buys"}
    batch = codec.decode([message.value() for message in messages]).batch
    return [ModelEvent(**row) for row in batch.to_pylist()]


def a_log_that_turns(of: Task) -> list[Examples]:
    """Records of a partition in which everybody answers, until nobody does any more."""
    history = []
    for number in range(4_000):
        asks = number % 2 == 0
        value = 1.0 if not asks and number < 2_000 else None
        history.append(Seen(1_000 + 20 * (number // 2), 1, asks, value))
    source = Source(of, 0, history)
    return source.cut(range(37, 4_000, 37))


def test_drifts_and_promotions_are_told_once_each_wherever_the_trainer_is_restarted(
    settings: Settings,
) -> None:
    of = task()._replace(models=(SGD, "logistic_adagrad_0.1"))
    other = of.models[1]
    log = [
        one._replace(serving=Serving(2, other, 2) if place >= 80 else Serving(1))
        for place, one in enumerate(a_log_that_turns(of))
    ]
    store_examples(settings, log)
    training, now = Training(settings).fold(3).commit(0), 0
    while training.position < len(log):
        begin = training.position
        training.fold(7).close()  # of a worker that dies before it commits
        now += 300
        training = Training(settings, begin).fold(7).commit(now).restarted()
    training.close()
    events = events_of(settings)
    drifts = [event for event in events if event.kind == "drift"]
    (promotion,) = (event for event in events if event.kind == "promotion")
    assert len(events) == len(drifts) + 1
    assert {event.model for event in drifts} == {SGD}
    turn = next(place for place, one in enumerate(log) if one.position >= 2_000)
    assert all(event.position < 80 for event in drifts)
    worse = next(event for event in drifts if event.position >= turn)  # before, it has got better
    before, after = worse.loss_before, worse.loss_after
    assert before is not None
    assert after is not None
    assert before < after
    learned, clock = promotion.learned, log[80].clock
    assert promotion == ModelEvent(
        *of[:4], other, "promotion", 80, learned, clock, None, None, SGD, "command"
    )

    # A trainer that was never interrupted tells the same.
    whole = TaskFold(of, [ModelLearner.new(of, spec_named(name)) for name in of.models], 0)
    for offset, examples in enumerate(log):
        whole.fold(examples, offset)
    assert whole.lineup.take_events() == events


def test_the_drifts_of_a_tree_that_is_learned_again_are_told_once(settings: Settings) -> None:
    of = task()._replace(models=("hoeffding_tree",))
    log = a_log_that_turns(of)
    store_examples(settings, log)
    whole = TaskFold(of, [ModelLearner.new(of, spec_named(of.models[0]))], 0)
    for offset, examples in enumerate(log):
        whole.fold(examples, offset)
    expected = whole.lineup.take_events()
    assert len(expected) > 0

    drifted = expected[0].position
    training = Training(settings).fold(drifted - 2).commit(0).restarted()
    training = training.fold(1).commit(1).restarted()  # dies before it has learned the tree again
    training.learn_again()
    training.fold(2).commit(2_000)
    training = training.restarted()
    training.fold().commit(3_000)  # with drifts, perhaps, that only the tree can tell
    training.learn_again()
    training.commit(5_000).close()
    events = events_of(settings)
    assert [event for event in events if event.kind == "drift"] == expected
    again = [event for event in events if event.kind == "learned_again"]
    assert [event.position for event in again] == [drifted - 1, len(log)]
    assert len(events) == len(expected) + len(again)


def test_a_record_that_is_refused_is_told_with_the_reason(settings: Settings) -> None:
    of = task()._replace(models=(SGD, "base_rate"))
    log = a_log([a_history(of, 0)])
    store_examples(settings, log)
    training = Training(settings).fold(20).commit(0)
    key = model_key(TaskId.of(of), SGD)
    produce(settings, settings.topics.models.name, [Record(b"none of ours", key, PARTITION)])
    training = training.restarted()
    assert events_of(settings) == []
    training.commit(10)
    (refused,) = events_of(settings)
    assert refused == ModelEvent(*of[:4], SGD, "refused", 20, reason=refused.reason)
    assert refused.reason
    training.learn_again()
    training.fold().commit(20).close()
    (_, learned) = events_of(settings)
    assert (learned.kind, learned.model, learned.position) == ("learned_again", SGD, 20)
