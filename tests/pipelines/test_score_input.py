"""Segments that ask for scores, on a real broker: what is read of avila.predictions, and when."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from confluent_kafka import KafkaException

from schemas.avro import files
from schemas.avro.codec import Codec, Encoder
from schemas.operators.prediction import PREDICTION
from schemas.operators.segment import SEGMENT
from schemas.registry.subjects import value_subject
from schemas.settings import Settings
from tests.kafka import Record, read_all
from tests.pipelines.in_process import (
    PARTITION,
    Engine,
    Named,
    produce,
    published,
    put,
    registry_of,
    store,
)

NOW = 1_764_000_000_000
LIKELY = Named("segment", "likely")
RULE = {"predicted": {"prediction": "buys", "at_least": 0.7}}
_TIMEOUT_S = 120.0


def score(
    settings: Settings,
    scores: Mapping[str, float | None],
    prediction: str = "buys",
    **more: Any,
) -> None:
    """Write scores of persons as a worker does; None is a tombstone."""
    topic, schema = topic_of(settings), files.load("prediction-score")
    encoder = Encoder(
        schema, registry_of(settings.bootstrap).register(value_subject(topic), schema)
    )
    common = {"project_id": "shop", "prediction_id": prediction, "version": 1, "at": NOW}
    common |= {"model": "logistic_sgd_0.003", "model_version": 9, "contributions": []}
    values = encoder.encode_records(
        {**common, "person_id": person, "score": one or 0.0, "withheld": False, **more}
        for person, one in scores.items()
    )
    records = [
        Record(None if one is None else value, f"shop/{prediction}/{person}".encode(), PARTITION)
        for (person, one), value in zip(scores.items(), values, strict=True)
    ]
    produce(settings, topic, records)


def topic_of(settings: Settings) -> str:
    return PREDICTION.changes[0].topic(settings.topics).name


def members(settings: Settings) -> set[str]:
    """Who is in the segment, by what is published of persons; fails on a move that moves nobody."""
    codec = Codec(files.load("segment-change"), registry_of(settings.bootstrap).find)
    found: set[str] = set()
    for message in read_all(settings.bootstrap, SEGMENT.changes[0].topic(settings.topics).name):
        value = message.value()
        if value is None:
            continue
        (change,) = codec.decode([value]).batch.to_pylist()
        assert (change["person_id"] in found) == (change["change"] == "left"), change
        found ^= {change["person_id"]}
    return found


def begin(settings: Settings, rule: Mapping[str, Any] = RULE) -> Engine:
    """An engine in which persons have done something and the segment is live."""
    for person in ("ann", "ben", "cem"):
        store(settings, ["home"], NOW, person)
    put(settings, {LIKELY: LIKELY.record({"rule": rule})})
    engine = start(settings)
    until(engine, lambda: engine.partition.scores_position is not None)
    return engine


def start(settings: Settings) -> Engine:
    """An engine that has processed all events, once the broker leads all partitions."""
    deadline = time.monotonic() + _TIMEOUT_S
    while True:
        try:
            return Engine(settings).run()
        except KafkaException:
            if time.monotonic() > deadline:
                raise


def until(engine: Engine, holds: Callable[[], bool]) -> None:
    """Commit until something holds."""
    deadline = time.monotonic() + _TIMEOUT_S
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        engine.commit()
        time.sleep(0.01)


def catch_up(engine: Engine) -> None:
    """Commit until all scores that are on the topic are taken."""
    written = [
        message.offset() or 0
        for message in read_all(engine.settings.bootstrap, topic_of(engine.settings))
        if message.partition() == PARTITION
    ]
    until(engine, lambda: (engine.partition.scores_position or 0) > max(written))


def total(settings: Settings) -> dict[str, Any]:
    return published(settings)[LIKELY][1, None]


def test_persons_enter_and_leave_with_their_scores(settings: Settings) -> None:
    engine = begin(settings)
    score(settings, {"ann": 0.7, "ben": 0.69, "cem": 0.9})
    score(settings, {"cem": 0.1}, prediction="leaves")
    catch_up(engine)
    assert members(settings) == {"ann", "cem"}
    score(settings, {"ann": 0.1, "ben": 0.8, "cem": None})
    catch_up(engine)
    assert members(settings) == {"ben"}
    assert (total(settings)["entered"], total(settings)["left"]) == (3, 2)
    engine.close()


def test_scores_count_since_the_definition_and_the_segment_says_so(settings: Settings) -> None:
    score(settings, {"ann": 0.9})
    before = time.time_ns() // 1_000_000
    engine = begin(settings)
    score(settings, {"ben": 0.9})
    catch_up(engine)
    assert members(settings) == {"ben"}
    since = total(settings)["scores_since"]
    assert before <= since <= time.time_ns() // 1_000_000
    engine = engine.restarted()
    engine.commit()
    assert total(settings)["scores_since"] == since
    engine.close()


def test_scores_that_were_withheld_match_nothing(settings: Settings) -> None:
    engine = begin(settings, {"or": [RULE, {"predicted": {"prediction": "buys", "below": 0.2}}]})
    score(settings, {"ann": 0.9, "ben": 0.1})
    catch_up(engine)
    assert members(settings) == {"ann", "ben"}
    score(settings, {"ann": 0.9, "ben": 0.1}, withheld=True)
    catch_up(engine)
    assert members(settings) == set()
    engine.close()


def test_each_score_counts_once_whatever_was_lost(settings: Settings) -> None:
    engine = begin(settings, {"and": [RULE, {"performed": {"event": "cart", "at_most": 1}}]})
    score(settings, {"ann": 0.9, "ben": 0.9})
    catch_up(engine)
    engine.snapshot()
    score(settings, {"ann": 0.1, "cem": 0.9})
    catch_up(engine)
    position = engine.partition.scores_position
    # Taken and never committed: as a worker that is killed has it.
    score(settings, {"ben": 0.2, "ann": 0.8})
    deadline = time.monotonic() + _TIMEOUT_S
    while engine.partition.scores_position == position:
        assert time.monotonic() < deadline
        engine.analytics.flush({PARTITION: engine.position}, time.time_ns() // 1_000_000)
    engine.outbox.take()
    engine = engine.restarted()
    assert engine.partition.scores_position == position
    assert members(settings) == {"ben", "cem"}
    catch_up(engine)
    assert members(settings) == {"ann", "cem"}
    store(settings, ["cart", "cart"], NOW + 1_000, "cem")
    engine.run()
    assert members(settings) == {"ann"}
    engine = engine.restarted()
    engine.commit()
    assert members(settings) == {"ann"}
    engine.close()


def test_what_is_no_score_is_passed_over(settings: Settings) -> None:
    engine = begin(settings)
    topic = topic_of(settings)
    produce(settings, topic, [Record(b"junk", b"shop/buys/ann", PARTITION)])
    produce(settings, topic, [Record(b"junk", b"\xff", PARTITION), Record(None, None, PARTITION)])
    score(settings, {"ben": 0.9, "cem": float("inf")})
    catch_up(engine)
    assert members(settings) == {"ben"}
    engine.close()


@pytest.mark.parametrize("gone", ["deleted", "changed"])
def test_nothing_is_read_as_soon_as_no_segment_asks(settings: Settings, gone: str) -> None:
    engine = begin(settings)
    score(settings, {"ann": 0.9})
    catch_up(engine)
    changed = LIKELY.record({"rule": {"performed": {"event": "home"}}}, version=2)
    put(settings, {LIKELY: None if gone == "deleted" else changed})
    until(engine, lambda: engine.partition.scores_position is None)
    assert not engine.analytics._scores._waiting
    engine.close()


def test_an_engine_without_such_segments_does_not_even_connect(settings: Settings) -> None:
    store(settings, ["home"], NOW, "ann")
    put(settings, {LIKELY: LIKELY.record({"rule": {"performed": {"event": "home"}}})})
    engine = start(settings)
    score(settings, {"ann": 0.9})
    engine.commit()
    assert engine.analytics._scores._consumer is None
    engine.close()
