"""The view of scores is bounded, and says where it lacks some."""

import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.query.operators.prediction.bands import bands_of
from services.query.operators.prediction.scores import (
    Contribution,
    Names,
    Order,
    PackedScore,
    Score,
    ScoreRange,
    Scores,
    pack,
    read_scores,
    unpack,
)
from services.query.views.changes import Key
from services.query.views.reader import Update, VersionKey

BUYS, LEAVES = Key("shop", "buys"), Key("shop", "leaves")


def update(key: Key, person: str, score: float | None, version: int = 1) -> Update[PackedScore]:
    record_key = f"{key.project_id}/{key.id}/{person}".encode()
    if score is None:
        return Update(record_key, None)
    packed = pack(Score(version, "m", 1_000, 5, score))
    return Update(record_key, PackedScore(VersionKey(*key, version), packed))


def ranked(scores: Scores, key: Key, version: int = 1) -> list[tuple[str, float]]:
    page = scores.of(key).page(version, "highest", None, 100)
    return [(person, score.score) for person, score in page.persons]


def test_a_score_is_kept_as_it_came() -> None:
    parts = (Contribution("recency", 0.5, 1e-9), Contribution("weekend", 1.0, -2.5))
    score = Score(3, "logistic_sgd_0.003", 1_764_000_000_000, 12_345, 0.123456789, parts)
    assert unpack(pack(score)) == score


def test_the_scores_that_came_longest_ago_are_let_go_of_the_largest_prediction() -> None:
    scores = Scores(max_scores=20)
    scores.apply(update(LEAVES, f"p{n}", 0.5) for n in range(5))
    scores.apply(update(BUYS, f"p{n:02}", n / 100) for n in range(15))
    assert scores.is_complete(BUYS)
    scores.apply([update(BUYS, "p00", 0.99)])  # a new score of the same person takes no room
    assert scores.is_complete(BUYS)
    scores.apply([update(BUYS, "p15", 0.15)])
    assert (scores.is_complete(BUYS), scores.is_complete(LEAVES)) == (False, True)
    assert not scores.of(BUYS).complete
    kept = [person for person, _ in ranked(scores, BUYS)]
    assert len(kept) == 15
    assert "p01" not in kept
    assert kept[0] == "p00"
    assert len(ranked(scores, LEAVES)) == 5


def test_a_prediction_that_has_ended_gives_its_room_back() -> None:
    scores = Scores(max_scores=10)
    scores.apply(update(BUYS, f"p{n}", 0.5) for n in range(11))
    assert not scores.is_complete(BUYS)
    scores.apply(update(BUYS, f"p{n}", None) for n in range(11))
    assert scores.is_complete(BUYS)
    scores.apply(update(LEAVES, f"p{n}", 0.5) for n in range(10))
    assert scores.is_complete(LEAVES)
    assert len(ranked(scores, LEAVES)) == 10


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdefgh"),
            st.none() | st.sampled_from([0.0, 0.25, 0.5]),
            st.integers(1, 2),
        ),
        max_size=30,
    ),
    st.sampled_from(["highest", "lowest"]),
    st.integers(1, 3),
)
def test_pages_have_everybody_once_in_order(
    changes: list[tuple[str, float | None, int]], order: Order, limit: int
) -> None:
    scores = Scores()
    known: dict[str, tuple[float | None, int]] = {}
    for person, score, version in changes:
        scores.apply([update(BUYS, person, score, version)])
        known[person] = (score, version)
    sign = -1 if order == "highest" else 1
    of_one = {person: score for person, (score, version) in known.items() if version == 1}
    expected = sorted(
        (sign * score, person) for person, score in of_one.items() if score is not None
    )
    seen: list[tuple[float, str]] = []
    after: tuple[float, str] | None = None
    more = True
    while more:
        page = scores.of(BUYS).page(1, order, after, limit)
        seen += [(sign * score.score, person) for person, score in page.persons]
        more = page.more
        assert len(page.persons) == limit or not more
        if more:
            person, last = page.persons[-1]
            after = (last.score, person)
    assert seen == expected


SCORES = st.none() | st.sampled_from(
    [-2e6, -1e6, -0.5, 0.0, 0.05, 0.1, 0.29999999999999993, 0.3, 0.8999, 0.9, 1.0, 1.5, 1e6]
)


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdefgh"), SCORES, st.integers(1, 2)),
        max_size=60,
    ),
    st.integers(2, 20),
)
def test_bands_have_each_person_that_is_held_in_the_one_of_their_score(
    changes: list[tuple[str, float | None, int]], room: int
) -> None:
    scores = Scores(max_scores=room)
    for person, score, version in changes:
        scores.apply([update(BUYS, person, score, version)])
    for version in (1, 2):
        held = [score for _, score in ranked(scores, BUYS, version)]
        counts = scores.counts(BUYS, version)
        for band in bands_of("value", counts.persons):
            least = -math.inf if band.begin is None else band.begin
            below = math.inf if band.end is None else band.end
            assert band.persons == sum(least <= score < below for score in held)
            page = scores.of(BUYS).page(version, "lowest", None, 100, ScoreRange(least, below))
            assert len(page.persons) == band.persons
        assert counts.complete == scores.is_complete(BUYS)


def test_probabilities_are_counted_by_tenths_and_one_is_in_the_last() -> None:
    scores = Scores()
    probabilities = [0.0, 0.05, 0.1, 0.3, 0.6, 0.7, 0.9, 0.95, 1.0]
    scores.apply(update(BUYS, f"p{n}", score) for n, score in enumerate(probabilities))
    bands = bands_of("does_not", scores.counts(BUYS, 1).persons)
    assert [band.persons for band in bands] == [2, 1, 0, 1, 0, 0, 1, 1, 0, 3]
    assert [(band.begin, band.end) for band in bands[:3]] == [(0.0, 0.1), (0.1, 0.2), (0.2, 0.3)]
    assert (bands[-1].begin, bands[-1].end) == (0.9, 1.0)


def test_bands_of_nobody_are_all_there_and_empty() -> None:
    assert {band.persons for band in bands_of("performs", Scores().counts(BUYS, 1).persons)} == {0}
    values = bands_of("value", ())
    assert (values[0].begin, values[0].end) == (None, -1e6)
    assert (values[-1].begin, values[-1].end) == (1e6, None)
    assert (len(values), {band.persons for band in values}) == (16, {0})


def test_what_cannot_be_read_is_left_out() -> None:
    scores = Scores()
    scores.apply([Update(b"shop/buys", None), Update(b"\xff/a/b", None)])
    not_finite = PackedScore(VersionKey(*BUYS, 1), b"")
    scores.apply([Update(b"shop/buys/ann", not_finite), update(BUYS, "ben/1", 0.5)])
    assert ranked(scores, BUYS) == [("ben/1", 0.5)]
    assert scores.person(BUYS, "ben/1") is not None
    assert scores.person(LEAVES, "ben/1") is None


def test_names_have_numbers_of_two_bytes() -> None:
    names = Names()
    assert [names.number(name) for name in ("a", "b", "a")] == [0, 1, 0]
    assert names[1] == "b"
    for number in range(2, Names.MAX):
        names.number(str(number))
    with pytest.raises(OverflowError):
        names.number("one more")


def a_batch(rows: list[tuple[str, str, str]]) -> pa.RecordBatch:
    """Decoded scores: a project, a model, and the feature that contributes."""
    return pa.RecordBatch.from_pylist(
        [
            {
                "project_id": project,
                "prediction_id": "buys",
                "version": 1,
                "model": model,
                "at": 5,
                "model_version": 7,
                "score": 0.25,
                "contributions": [{"feature": feature, "value": 0.5, "contribution": 2.0}],
            }
            for project, model, feature in rows
        ]
    )


def test_scores_with_more_names_than_there_are_numbers_are_kept_all_the_same() -> None:
    many = [("loud", f"model_{n}", f"feature_{n}") for n in range(Names.MAX_OF_PROJECT)]
    quiet = [("quiet", f"quiet_{n}", "recency") for n in range(100)]
    packed = [one.packed for part in (many, quiet, many) for one in read_scores(a_batch(part))]
    for data, (_, model, feature) in zip(packed, [*many, *quiet, *many], strict=True):
        expected = Score(1, model, 5, 7, 0.25, (Contribution(feature, 0.5, 2.0),))
        assert unpack(data) == expected
    short = len(packed[0])
    assert {len(data) for data in packed[len(many) : len(many) + 100]} == {short}
    assert len(packed[len(many) - 1]) > short  # with its names
    scores = Scores()
    scores.apply(
        Update(f"loud/buys/p{n:05}".encode(), PackedScore(VersionKey("loud", "buys", 1), data))
        for n, data in enumerate(packed[: len(many)])
    )
    page = scores.of(Key("loud", "buys")).page(1, "highest", None, 2)
    assert [score.model for _, score in page.persons] == ["model_0", "model_1"]
