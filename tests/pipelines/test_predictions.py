"""From events to scores on one worker, through kills: every public topic says the same as River."""

import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import islice, pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from msgspec.structs import replace

from pipelines.columnar.mix import mix_strings
from pipelines.columnar.string_column import StringColumn
from pipelines.trainer.model_codec import spec_named
from schemas.model_record import ModelRecord, Reign
from schemas.operators.prediction import PREDICTION
from schemas.person_key import fingerprint, person_key
from schemas.settings import Secret, Settings
from services.query.operators.prediction.models import TRAINING_COUNTS
from tests.conftest import HELD_PARTITIONS
from tests.events import (
    Results,
    Sent,
    await_equal,
    decode,
    define_metric,
    define_prediction,
    delete_definition,
    measured,
    send,
)
from tests.oracles import prediction as oracle
from tests.oracles.events import Event
from tests.oracles.training import Asked, Happened, Learned, MergedLearning, checksum
from tests.pipelines.models.as_river import pipeline, same_bits, state
from tests.pipelines.river_training import state_in
from tests.pipelines.training import published
from tests.workers import WorkerProcess

SGD = "logistic_sgd_0.003"
ADAGRAD = "logistic_adagrad_0.1"
BODY: dict[str, Any] = {
    "goal": {"event": "buy"},
    "within_s": 1_800,
    "lateness_s": 60,
    "at": {"event": "view"},
    "events": [{"event": "cart"}],
    "steps": [{"event": "view"}, {"event": "cart"}],
    "conditions": [{"filter": {"event": "cart"}, "within_s": 3_600, "at_least": 2}],
    "amount": "price",
    "challengers": [{"kind": "logistic_adagrad"}],
}
EVENTS = 2_000
CUTS = [0, 400, 800, 1_000, 1_200, 1_400, 1_600, 1_800, EVENTS]
KILLED_AFTER = (400, 800)  # events
PROMOTED_AFTER = 1_200  # events


def history(begin_ms: int) -> list[Sent]:
    """Visits of some persons within some days: who has something in the cart often buys."""
    rng = random.Random(7)
    at, filled = begin_ms, Counter[str]()
    events = []
    for number in range(EVENTS):
        at += rng.randrange(40_000)
        person = f"person-{rng.randrange(40)}"
        kind = rng.choices(["view", "cart", "buy"], [6, 3, 4 if filled[person] else 0.2])[0]
        filled[person] += {"view": 0, "cart": 1, "buy": -filled[person]}[kind]
        late = rng.randrange(90_000) if rng.random() < 0.05 else 0
        price = f'{{"price": {rng.randrange(1, 90)}}}' if kind == "buy" else "{}"
        id_ = f"00000000-0000-4000-8000-{number:012d}"
        events.append(Sent(person, kind, at - late, price, id_, received_at_ms=at))
    return events


class Example(NamedTuple):
    """One decoded record of `avila.examples`."""

    offset: int
    fields: Mapping[str, Any]
    asked: list[Asked]
    happened: list[Happened]
    scores: list[float]


def read_example(offset: int, fields: Mapping[str, Any]) -> Example:
    def column(name: str, of: str) -> list[Any]:
        found: list[Any] = np.frombuffer(fields[name], of).tolist()
        return found

    width = len(fields["features"])
    features = np.frombuffer(fields["question_features"], "<f4").reshape(-1, width).tolist()
    asked = zip(
        column("question_offsets", "<i8"),
        column("question_at", "<i8"),
        column("question_persons", "<u8"),
        map(tuple, features),
        strict=True,
    )
    happened = zip(
        column("outcome_offsets", "<i8"),
        column("outcome_at", "<i8"),
        column("outcome_persons", "<u8"),
        column("outcome_values", "<f8"),
        column("outcome_clocks", "<i8"),
        strict=True,
    )
    return Example(
        offset,
        fields,
        [Asked(*one) for one in asked],
        [Happened(*one) for one in happened],
        column("question_scores", "<f8"),
    )


@pytest.fixture(scope="module")
def begin_ms() -> int:
    return time.time_ns() // 1_000_000 - 30 * 86_400_000


def examples_of(results: Results) -> list[Example]:
    messages = results.read(results.topics.examples)
    messages.sort(key=lambda one: (one.partition(), one.offset()))
    return [read_example(message.offset() or 0, decode("example", message)) for message in messages]


def logs_of(results: Results) -> dict[int, tuple[list[int], list[Event]]]:
    """The events of each partition of the event store, with their offsets."""
    logs: defaultdict[int, tuple[list[int], list[Event]]] = defaultdict(lambda: ([], []))
    for message in results.read(results.topics.events):
        fields = decode("event", message)
        at = round(fields["timestamp"].timestamp() * 1_000)
        properties = json.loads(fields["properties"])
        offsets, events = logs[message.partition() or 0]
        offsets.append(message.offset() or 0)
        events.append(Event(fields["person_id"], fields["event"], at, properties))
    return dict(logs)


def of_source(log: list[Example], source: int) -> list[Example]:
    return [example for example in log if example.fields["partition"] == source]


def learned_in_order(
    log: list[Example], within_s: int = 1_800, lateness_s: int = 60
) -> Iterator[list[tuple[int, Learned]]]:
    """What each record of the log lets learn, by the oracle."""
    learning = MergedLearning("performs", 1_000 * within_s, 1_000 * lateness_s)
    for example in log:
        fields = example.fields
        yield learning.take_in(
            fields["partition"],
            example.asked,
            example.happened,
            round(fields["clock"].timestamp() * 1_000),
            history=fields["history"],
            partitions=fields["partitions"],
        )


def test_questions_labels_models_and_scores_equal_the_oracles_through_kills(
    settings: Settings, begin_ms: int
) -> None:
    settings = replace(settings, person_key=Secret("a secret of this test"))
    secret = fingerprint(person_key(settings))
    define_prediction(settings, "buys", BODY, person_key=secret)
    events = history(begin_ms)
    results = Results(settings)

    def model() -> ModelRecord | None:
        found = published(settings)
        return next((one for key, one in found.items() if key.endswith(SGD.encode())), None)

    def learned() -> int:
        return sum(map(len, learned_in_order(examples_of(results))))

    def is_trained() -> bool:
        found = model()
        return found is not None and found.learned == learned()

    with WorkerProcess(settings) as worker:
        worker.await_partitions(HELD_PARTITIONS)
        for begin, end in pairwise(CUTS):
            if begin == PROMOTED_AFTER:
                named = BODY | {"champion": ADAGRAD}
                more: dict[str, Any] = {"revision": 2, "promoted": 2, "person_key": secret}
                define_prediction(settings, "buys", named, **more)
            send(settings, events[begin:end])
            if end in KILLED_AFTER:
                stored = (begin + end) // 2
                await_equal(True, lambda: len(results.read(results.topics.events)) > stored)  # noqa: B023
                worker.kill()
                worker.start()
            else:  # the next events are scored by what these have taught
                await_equal(end, lambda: len(results.read(results.topics.events)))
                await_equal(
                    True, lambda: (found := model()) is not None and found.learned == learned()
                )
        await_equal(EVENTS, lambda: len(results.read(results.topics.events)))
        logs = logs_of(results)
        expected = {source: oracle.asked(BODY, log) for source, (_, log) in logs.items()}
        count = sum(map(len, expected.values()))
        await_equal(count, lambda: sum(len(one.asked) for one in examples_of(results)))

        await_equal(True, is_trained)
        assert worker.stop() == 0
        assert "Traceback" not in worker.output
    log, record = examples_of(results), model()
    assert record is not None

    # Exactly the questions of the events, each once, with the features of the formulas.
    for source, (offsets, _) in logs.items():
        own = [one for example in of_source(log, source) for one in example.asked]
        assert [one.offset for one in own] == [offsets[one.place] for one in expected[source]]
        for one, question in zip(own, expected[source], strict=True):
            described = dict(zip(record.features, one.features, strict=True))
            assert described == pytest.approx(question.features, rel=1e-5, abs=1e-6)

    # A person has one name in a partition, and not the one that anybody could compute.
    tag = np.uint64(log[0].fields["tag"] % 2**64)
    names: defaultdict[str, set[int]] = defaultdict(set)
    for source, (offsets, stored_log) in logs.items():
        events_at = dict(zip(offsets, stored_log, strict=True))
        for part in of_source(log, source):
            for asked in part.asked:
                names[events_at[asked.offset].person].add(asked.person)
            for happened in part.happened:
                names[events_at[happened.offset].person].add(happened.person)
    public = np.zeros(len(names), np.uint64)
    mix_strings(tag, *StringColumn.of(pa.array(list(names))), public)
    assert [len(found) for found in names.values()] == [1] * len(names)
    assert not {int(one) for one in public} & {one for found in names.values() for one in found}

    # The labels of the events.
    labels = {
        (source, one.offset): one.label for batch in learned_in_order(log) for source, one in batch
    }
    for source, (offsets, stored_log) in logs.items():
        answered = oracle.answers(BODY, expected[source], stored_log)
        for question, answer in zip(expected[source], answered, strict=True):
            id_ = source, offsets[question.place]
            if id_ in labels:
                assert labels[id_] == (answer is not None)
    assert 0.05 < sum(labels.values()) / len(labels) < 0.95

    # River's models, learned in the order of the log, at every version that scored.
    features: dict[tuple[int, int], dict[str, float]] = {}
    scored = defaultdict(list)
    for of in log:
        for one, score in zip(of.asked, of.scores, strict=True):
            row = dict(zip(record.features, one.features, strict=True))
            features[of.fields["partition"], one.offset] = row
            scored[of.fields["scored_by"], of.fields["model_version"]].append((row, score))
    # Before the trainer has published a model, there are no scores.
    assert all(np.isnan(score) for _, score in scored.pop(("", -1), ()))
    assert {name for name, _ in scored} == {SGD, ADAGRAD}
    assert len(scored) > 3
    order = [one for batch in learned_in_order(log) for one in batch]
    models = published(settings)
    for name in (SGD, ADAGRAD):
        river = pipeline(spec_named(name))
        for version, (source, example) in enumerate([*order, (-1, Learned(0, 0))]):
            for row, score in scored.pop((name, version), ()):
                assert same_bits([river.predict_proba_one(row)[True]], [score])
            if source >= 0:
                river.learn_one(features[source, example.offset], bool(example.label))
        (stored_model,) = (one for one in models.values() if one.spec.name == name)
        assert same_bits(state_in(stored_model.part("model")), state(river))
    assert not scored

    # The log says where the champion changed, and the models say the same.
    (since,) = {one.reign.since for one in models.values()}
    told = [of.fields["promoted"] for of in log].index(2)
    assert log[told].offset == since
    learned_before = sum(map(len, islice(learned_in_order(log), told)))
    assert {one.reign for one in models.values()} == {
        Reign(ADAGRAD, since, learned_before, "command", SGD)
    }
    ids = checksum([(source, one.offset) for source, one in order])
    assert record.learned_ids[:8] == ids.to_bytes(8, "little")

    # The last score of each person is the one of their last question that was scored.
    last: dict[str, tuple[float, str]] = {}
    for source, (offsets, _) in logs.items():
        by_offset = {
            one.offset: (score, example.fields["scored_by"])
            for example in of_source(log, source)
            for one, score in zip(example.asked, example.scores, strict=True)
        }
        for question in expected[source]:
            said = by_offset[offsets[question.place]]
            if not np.isnan(said[0]):
                last[question.person] = said
    decoded = [
        (message.key(), decode("prediction-score", message))
        for message in results.read(PREDICTION.changes[0].topic(settings.topics))
    ]
    found = {key: (fields["score"], fields["model"]) for key, fields in decoded}
    assert found == {f"shop/buys/{person}".encode(): said for person, said in last.items()}

    # A prediction that is deleted while no worker runs leaves no models and no scores.
    delete_definition(settings, "prediction", "buys")
    with WorkerProcess(settings):
        await_equal({}, lambda: published(settings))
        topic = PREDICTION.changes[0].topic(settings.topics)
        latest = {message.key(): message.value() for message in results.read(topic)}
        assert set(latest.values()) == {None}
    results.close()


def seen(results: Results) -> int:
    """How many events the metric `seen` has counted."""
    found = measured(results, "seen").values()
    return round(sum(part["sum"] or 0 for parts in found for part in parts))


KILLS = 5  # each lets partitions move twice: when the worker is gone, and when it is back


def test_history_is_merged_and_nothing_is_lost_or_learned_twice_on_two_workers_that_are_killed(
    settings: Settings, begin_ms: int
) -> None:
    events = history(begin_ms)
    past, live = events[: EVENTS // 2], events[EVENTS // 2 :]
    results = Results(settings)

    def model() -> ModelRecord | None:
        found = published(settings)
        return next((one for key, one in found.items() if key.endswith(SGD.encode())), None)

    with (
        WorkerProcess(settings, "one") as one,
        WorkerProcess(settings, "two") as two,
    ):
        define_metric(settings, "seen", {"measure": "sum", "property": "one", "bucket_s": 86_400})
        send(settings, [one._replace(properties='{"one": 1}') for one in past])
        await_equal(len(past), lambda: seen(results))  # by the worker: it is history from now on
        define_prediction(settings, "buys", BODY)
        for number in range(KILLS):
            worker = (one, two)[number % 2]
            await_equal(True, lambda: bool(examples_of(results)))
            worker.kill()
            send(settings, live[number::KILLS])
            worker.start()
        await_equal(EVENTS, lambda: len(results.read(results.topics.events)))
        logs = logs_of(results)
        expected = {source: oracle.asked(BODY, log) for source, (_, log) in logs.items()}
        count = sum(map(len, expected.values()))
        await_equal(count, lambda: sum(len(one.asked) for one in examples_of(results)))

        read_to = examples_of(results)[-1].offset + 1
        await_equal(True, lambda: (found := model()) is not None and found.position >= read_to)
        assert (one.stop(), two.stop()) == (0, 0)
        assert "Traceback" not in one.output + two.output
    record = model()
    assert record is not None
    # Records that follow say only that time passes.
    log = [example for example in examples_of(results) if example.offset < record.position]

    # The ledger: every question of every partition once, learned or still open.
    ids = {
        (source, offsets[question.place])
        for source, (offsets, _) in logs.items()
        for question in expected[source]
    }
    asked = [(of.fields["partition"], one.offset) for of in log for one in of.asked]
    assert (len(asked), set(asked)) == (len(ids), ids)
    order = [one for batch in learned_in_order(log) for one in batch]
    learned = [(source, one.offset) for source, one in order]
    assert len(set(learned)) == len(learned)
    counts = dict(zip(TRAINING_COUNTS, record.part("training")["counts"].tolist(), strict=True))
    assert counts["asked"] == len(ids)
    assert counts["learned"] == len(learned)
    assert counts["dropped"] == counts["repeated"] == counts["capped"] == 0
    in_record = checksum(learned).to_bytes(8, "little") + len(learned).to_bytes(8, "little")
    assert record.learned_ids == in_record
    checksums = record.part("training")["checksums"].tolist()
    assert [one % 2**64 for one in checksums] == [checksum(learned), checksum(asked)]

    # The model is River's over this order, which begins with history.
    features = {
        (of.fields["partition"], one.offset): (one.at, one.features)
        for of in log
        for one in of.asked
    }
    river = pipeline(spec_named(SGD))
    for source, example in order:
        _, row = features[source, example.offset]
        river.learn_one(dict(zip(record.features, row, strict=True)), bool(example.label))
    assert same_bits(state_in(record.part("model")), state(river))
    assert all(of_source(log, source)[0].fields["history"] for source in logs)
    results.close()


def test_a_partition_without_events_learns_what_is_due_and_first_what_waits_in_the_inbox(
    settings: Settings,
) -> None:
    within_s, lateness_s = 30, 1
    define_prediction(settings, "buys", BODY | {"within_s": within_s, "lateness_s": lateness_s})
    results = Results(settings)
    persons = [f"person-{number}" for number in range(40)]

    def visits(event: str, of: list[str], first: int) -> list[Sent]:
        now = time.time_ns() // 1_000_000
        return [
            Sent(person, event, now, "{}", f"00000000-0000-4000-8000-{first + number:012d}")
            for number, person in enumerate(of)
        ]

    def model() -> ModelRecord | None:
        found = published(settings)
        return next((one for key, one in found.items() if key.endswith(SGD.encode())), None)

    with WorkerProcess(settings) as worker:
        worker.await_partitions(HELD_PARTITIONS)
        send(settings, visits("view", persons, 0))
        begin = time.monotonic()
        await_equal(len(persons), lambda: sum(len(one.asked) for one in examples_of(results)))
        worker.kill()
        send(settings, visits("buy", persons[::2], 1_000))
        assert time.monotonic() < begin + within_s
        # The worker is away until long after the horizon.
        back_at = begin + within_s + lateness_s + 5
        await_equal(True, lambda: bool(examples_of(results)) and time.monotonic() > back_at)
        worker.start()
        await_equal(len(persons), lambda: 0 if (found := model()) is None else found.learned)
        assert worker.stop() == 0
        assert "Traceback" not in worker.output
    log = examples_of(results)
    learned = [one for batch in learned_in_order(log, within_s, lateness_s) for _, one in batch]
    assert len(learned) == len(persons)
    assert sum(one.label for one in learned) == len(persons[::2])
    clocks = [round(one.fields["clock"].timestamp() * 1_000) for one in log]
    newest = max(outcome.at for one in log for outcome in one.happened)
    assert newest < max(clocks) <= time.time_ns() // 1_000_000
    results.close()
