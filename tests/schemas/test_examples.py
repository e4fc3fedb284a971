"""Records of examples: what is written is read, and what does not fit is refused by name."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.avro import files
from schemas.avro.codec import Codec, Encoder
from schemas.errors import InvalidRecord
from schemas.examples.checksum import added, checksum, from_signed, to_signed
from schemas.examples.chunks import chunks
from schemas.examples.codec import from_record, key_of, to_record
from schemas.examples.columns import (
    MAX_OUTCOMES,
    MAX_QUESTIONS,
    Examples,
    Outcomes,
    Questions,
    Task,
)
from tests.oracles import training
from tests.pipelines.examples import Recorder, Seen, Source, histories, task, tasks

SCHEMA = files.load("example")
ENCODER = Encoder(SCHEMA, 7)
CODEC = Codec(SCHEMA, lambda _: {7: SCHEMA})


def decoded(value: bytes) -> dict[str, Any]:
    result = CODEC.decode([value])
    assert not result.failures
    (record,) = result.batch.to_pylist()
    return dict(record)


def one() -> Examples:
    history = [Seen(at, at % 3, asks=True, value=1.0) for at in range(9)]
    return Source(task(), 3, history).record(0, 9)


def assert_same(left: Examples, right: Examples) -> None:
    for name in ("questions", "outcomes"):
        for column, other in zip(getattr(left, name), getattr(right, name), strict=True):
            np.testing.assert_array_equal(column, other)
    assert left[:4] == right[:4]
    assert left[6:] == right[6:]


@given(tasks, histories)
def test_what_is_written_is_read(of: Task, history: list[Seen]) -> None:
    written = Source(of, 1, history).record(0, len(history))
    (value,) = ENCODER.encode_records([to_record(written)])
    assert_same(from_record(decoded(value)), written)


def test_a_record_without_questions_and_outcomes_has_a_clock_and_may_end_a_definition() -> None:
    nothing = Examples(task(), 0, 0, 50, Questions.none(2), Outcomes.none(), ended=True)
    (value,) = ENCODER.encode_records([to_record(nothing)])
    assert_same(from_record(decoded(value)), nothing)
    assert key_of(nothing.task) == b"shop/buys"


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "target": ({"target": "guesses"}, "target: must be one of performs, does_not, value"),
    "project": ({"project_id": "a/b"}, "project_id: is not an id"),
    "horizon": ({"horizon_ms": 0}, "horizon_ms: must be 1 to"),
    "lateness": ({"lateness_ms": -1}, "lateness_ms: must be 0 to"),
    "hash": ({"feature_schema": "0" * 63}, "feature_schema: must be 64 digits"),
    "no models": ({"models": []}, "models: must be 1 to 16, and are 0"),
    "no features": ({"features": []}, "features: must be 1 to 256"),
    "a feature twice": ({"features": ["a", "a"]}, "features: must be different names"),
    "another feature": ({"features": ["a"]}, "question_features: must be 9 rows of 1"),
    "half a number": ({"question_at": b"123"}, "question_at: must be a multiple of 8 bytes"),
    "one time": ({"question_at": b"\1" + bytes(7)}, "question_at: must be 9 rows, and are 1"),
    "no persons": ({"outcome_persons": b""}, "outcome_persons: must be 9 rows, and are 0"),
    "order": ({"question_offsets": bytes(72)}, "question_offsets: must be ascending"),
    "position": ({"position": 8}, "question_offsets: must be ascending, from 0 to below the"),
    "clock": ({"clock": 2**62}, "clock: must be"),
    "version": ({"model_version": -2}, "model_version: must be -1 to"),
    "count": ({"capped": -1}, "capped: must be 0 to"),
    "time": ({"outcome_at": bytes([255] * 72)}, "outcome_at: must be 0 to"),
    "not finite": (
        {"question_features": np.full(18, np.nan, "<f4").tobytes()},
        "question_features: must be finite",
    ),
    "infinite value": (
        {"outcome_values": np.full(9, np.inf).tobytes()},
        "outcome_values: must be -1e\\+100 to 1e\\+100",
    ),
    "infinite score": (
        {"question_scores": np.full(9, np.inf).tobytes()},
        "question_scores: must be 0 to 1, or NaN",
    ),
    "no probability": (
        {"question_scores": np.full(9, 1.5).tobytes()},
        "question_scores: must be 0 to 1, or NaN",
    ),
    "a score too large": (
        {"target": "value", "question_scores": np.full(9, 1e101).tobytes()},
        "question_scores: must be -1e",
    ),
    "too many": (
        {"outcome_offsets": bytes(8 * (MAX_OUTCOMES + 1))},
        "outcome_offsets: must be 2000 or fewer, and are 2001",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_does_not_fit_is_refused_by_name(what: str) -> None:
    change, why = CHANGES[what]
    with pytest.raises(InvalidRecord, match=why):
        from_record(to_record(one()) | change)


def test_what_would_be_refused_cannot_be_written() -> None:
    whole = one()
    wrong = whole.questions._replace(at=whole.questions.at[:3])
    with pytest.raises(InvalidRecord, match="question_at: must be 9 rows, and are 3"):
        to_record(whole._replace(questions=wrong))
    wide = whole.questions._replace(features=whole.questions.features.astype(np.float64))
    with pytest.raises(InvalidRecord, match="question_features: must be float32"):
        to_record(whole._replace(questions=wide))


@pytest.mark.parametrize("features", [2, 256])
def test_a_large_batch_is_cut_into_records_that_teach_the_same(features: int) -> None:
    from pipelines.trainer.fold import TaskFold

    of = task("value", 300, 5)._replace(features=tuple(f"f{n}" for n in range(features)))
    history = [Seen(at, at % 7, asks=at % 3 > 0, value=1.0 * at) for at in range(9_000)]
    source = Source(of, 0, history)
    whole = source.record(0, len(history))
    parts = list(chunks(whole))
    assert len(parts) > 1
    for part in parts:
        assert len(part.questions.offsets) <= MAX_QUESTIONS
        (value,) = ENCODER.encode_records([to_record(part)])
        assert len(value) < 900_000
    assert [part.position for part in parts] == sorted(part.position for part in parts)
    assert sum(part.not_asked.capped for part in parts) == whole.not_asked.capped
    learned = []
    for log in (parts, [whole]):
        recorder = Recorder()
        fold = TaskFold(of, [recorder], 0)
        for offset, examples in enumerate(log):
            fold.fold(examples, offset)
        learned.append((recorder.learned, fold.counts, fold.checksum))
    assert learned[0] == learned[1]


def test_a_small_batch_is_one_record() -> None:
    whole = one()
    (part,) = chunks(whole)
    assert_same(part, whole)


@given(st.integers(0, 1_000), st.lists(st.integers(0, 2**40)), st.lists(st.integers(0, 2**40)))
def test_checksums_are_those_of_the_oracle_and_add_up(
    partition: int, some: list[int], others: list[int]
) -> None:
    def of(offsets: list[int]) -> int:
        return checksum(partition, np.array(offsets, np.int64))

    assert of(some) == training.checksum([(partition, offset) for offset in some])
    assert added(of(some), of(others)) == of(some + others)
    assert from_signed(to_signed(of(some))) == of(some)
    assert -(2**63) <= to_signed(of(some)) < 2**63
