"""Predictions over REST, beside a stand-in for the worker and the trainer."""

import math
from typing import Any

import httpx
import numpy as np
import pytest

from pipelines.models.quality import OutcomeQuality
from pipelines.operators.prediction.instance import PredictionInstance
from pipelines.trainer.championship import Championship
from pipelines.trainer.fold import Counts, Progress
from pipelines.trainer.learner import Lesson
from pipelines.trainer.model_codec import RecordCodec
from pipelines.trainer.model_learner import ModelLearner
from pipelines.trainer.source_clocks import Merge
from schemas.model_keys import ModelKey
from schemas.model_record import Array
from schemas.model_spec import ModelSpec
from schemas.operators.prediction import decode
from schemas.registry.log import Registry
from services.query.operators.prediction.models import NOT_LEARNED
from tests.kafka import Record, produce
from tests.services.query.conftest import Place, eventually
from tests.services.query.predictions import (
    BUYS,
    CHAMPION,
    ONE,
    PREDICTIONS,
    Publisher,
    bad,
    create,
    good,
    outcome_arrays,
    results,
)
from tests.services.query.test_openapi import check

ADAGRAD = ModelSpec("logistic_adagrad")
BASE = {"kind": "base_rate"}
DAY = 20_779  # 2026-11-22


@pytest.fixture
def publisher(place: Place) -> Publisher:
    return Publisher(place)


# ── definitions ──────────────────────────────────────────────────────────────────────────────────


async def test_a_prediction_is_made_changed_and_deleted(query: httpx.AsyncClient) -> None:
    shown = await create(query)
    assert shown | BUYS | {"id": "buys", "version": 1, "sample": 1.0, "target": "performs"} == shown
    assert (await query.get(f"{PREDICTIONS}/buys")).json() == shown
    assert (await query.get(PREDICTIONS)).json() == {"predictions": [shown], "next": None}
    changed = (await query.put(f"{PREDICTIONS}/buys", json=shown | {"name": "Buyers"})).json()
    assert (changed["name"], changed["revision"], changed["version"]) == ("Buyers", 2, 1)
    changed = (await query.put(f"{PREDICTIONS}/buys", json=BUYS | {"within_s": 60})).json()
    assert (changed["revision"], changed["version"]) == (3, 2)
    assert (await query.get(f"{PREDICTIONS}/buys/status")).json()["state"] == "backfilling"
    assert (await query.delete(f"{PREDICTIONS}/buys")).status_code == 204
    assert (await query.get(f"{PREDICTIONS}/buys")).status_code == 404


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"target": "value"}, "value"),
        ({"model": {"kind": "linear_regression"}}, "model.kind"),
        ({"features": ["recency", "height"]}, "features[1]"),
        ({"challengers": [{"kind": "logistic_sgd"}]}, "challengers[0]"),
        ({"sample": 0}, "sample"),
        ({"goal": {"event": ""}}, "goal.event"),
    ],
)
async def test_what_is_wrong_with_a_prediction_is_named(
    query: httpx.AsyncClient, more: dict[str, Any], field: str
) -> None:
    answer = await query.post(PREDICTIONS, json=BUYS | more)
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == field


# ── results ──────────────────────────────────────────────────────────────────────────────────────


async def test_what_was_asked_adds_up_over_partitions_and_days(
    query: httpx.AsyncClient, publisher: Publisher
) -> None:
    await create(query)
    publisher.questions(
        {"asked": 5, "capped": 1, "sampled_out": 2, "late_triggers": 3},
        {"day": DAY, "asked": 3},
        {"day": DAY + 1, "asked": 2},
        {"asked": 1, "capped": 1, "partition": 1},
        {"day": DAY + 1, "asked": 1, "partition": 1},
    )
    url = f"{PREDICTIONS}/buys/results"
    answer = await eventually(
        lambda: query.get(url, params={"from": "2026-11-23"}),
        lambda answer: answer.json()["asked"] == 6 and len(answer.json()["days"]) == 1,
    )
    check(f"{ONE}/results", answer)
    shown = answer.json()
    counts = [shown[name] for name in ("capped", "sampled_out", "late_triggers")]
    assert counts == [2, 2, 3]
    assert shown["days"] == [{"day": "2026-11-23", "asked": 3}]
    assert (shown["state"], shown["source"]) == ("live", "stream")
    assert len(shown["features"]) == 22
    (model,) = shown["models"]
    assert (model["name"], model["learned"], model["window"]) == (CHAMPION.name, 0, None)
    assert shown["withheld_because"] == model["reason"] == "it has learned nothing yet"


async def test_the_store_is_refused_with_the_reason(query: httpx.AsyncClient) -> None:
    await create(query)
    for source in ("store", "moon"):
        answer = await query.get(f"{PREDICTIONS}/buys/results", params={"source": source})
        check(f"{ONE}/results", answer)
        assert answer.status_code == 400
        assert answer.json()["error"]["field"] == "source"
    assert "`stream`" in answer.json()["error"]["message"]


async def test_a_model_that_is_better_than_its_base_rate_says_how_good_it_is(
    query: httpx.AsyncClient, publisher: Publisher
) -> None:
    await create(query, challengers=[{"kind": "gaussian_naive_bayes"}, {"kind": "base_rate"}])
    publisher.model(good())
    publisher.model(bad(), ModelSpec("gaussian_naive_bayes"))
    publisher.model(good(), ModelSpec("base_rate"))
    url = f"{PREDICTIONS}/buys/results"
    await eventually(
        lambda: query.get(url),
        lambda answer: all(one["learned"] for one in answer.json()["models"]),
    )
    shown = await results(query)
    champion, naive, base = shown["models"]
    assert (shown["withheld"], shown["withheld_because"]) == (False, None)
    assert [one["champion"] for one in shown["models"]] == [True, False, False]
    assert (champion["better_than_base"], champion["reason"], champion["naive"]) == (
        True,
        None,
        None,
    )
    assert champion["drifts"] == 2
    assert shown["answers"] == {
        "learned": 1_000,
        "open": 290,
        "unanswered": 7,
        "dropped": 3,
        "late_outcomes": 5,
        "repeated": 2,
        "merging": False,
        "merged_to": None,
        "unmerged": 0,
    }
    window = champion["window"]
    assert window["log_loss"] == pytest.approx(-(math.log(0.7) + 3 * math.log(0.9)) / 4)
    assert window["base_log_loss"] == pytest.approx(-(math.log(0.25) + 3 * math.log(0.75)) / 4)
    assert (window["examples"], window["positives"]) == (1_000, 250)
    assert (window["roc_auc"], window["pr_auc"]) == (1.0, 1.0)
    assert window["calibration"][7] == {
        "from": 0.7, "to": 0.8, "examples": 250, "mean_score": pytest.approx(0.7), "rate": 1.0,
    }  # fmt: skip
    assert window["calibration"][5]["mean_score"] is None
    assert window["calibration_error"] == pytest.approx(0.25 * 0.3 + 0.75 * 0.1)
    assert champion["since"]["log_loss"] == pytest.approx(window["log_loss"])
    assert "roc_auc" not in champion["since"]
    assert naive["better_than_base"] is False
    assert "is not less than that of its base rate" in naive["reason"]
    assert "independent" in naive["naive"]
    assert base["reason"] == "it is what other models are compared with"


@pytest.mark.parametrize(
    ("quality", "reason"),
    [
        (good(499), "too few answers are known: 125 positive and 374 negative ones"),
        (outcome_arrays([0.01] * 600, 0.5, [0] * 600), "0 positive and 600 negative ones"),
        (bad(), "is not less than that of its base rate"),
    ],
    ids=["few", "one-sided", "worse"],
)
async def test_a_model_that_is_not_better_says_why(
    query: httpx.AsyncClient, publisher: Publisher, quality: dict[str, Array], reason: str
) -> None:
    await create(query)
    publisher.model(quality)
    shown = await results(query)
    assert shown["models"][0]["better_than_base"] is False
    assert reason in shown["models"][0]["reason"]
    assert (shown["withheld"], shown["withheld_because"]) == (True, shown["models"][0]["reason"])
    listed = (await query.get(PREDICTIONS)).json()["predictions"][0]
    assert (listed["withheld"], listed["withheld_because"]) == (True, shown["withheld_because"])


async def test_a_list_says_that_scores_are_not_withheld_and_takes_back_what_it_shows(
    query: httpx.AsyncClient, publisher: Publisher
) -> None:
    created = await create(query)
    assert (created["withheld"], created["withheld_because"]) == (True, NOT_LEARNED)
    publisher.model(good())
    await results(query)
    answer = await query.get(PREDICTIONS)
    check("/api/projects/{project}/predictions", answer)
    (listed,) = answer.json()["predictions"]
    assert (listed["withheld"], listed["withheld_because"]) == (False, None)
    changed = (await query.put(f"{PREDICTIONS}/buys", json=listed)).json()
    assert (changed["version"], changed["withheld"]) == (1, False)


async def test_scores_as_they_were_served_decide_as_soon_as_there_are_enough(
    query: httpx.AsyncClient, publisher: Publisher
) -> None:
    await create(query)
    publisher.model(good(), served=bad(499))
    shown = await results(query)
    assert shown["models"][0]["served"]["window"]["examples"] == 499
    assert shown["models"][0]["better_than_base"] is True
    publisher.model(good(), served=bad(500), learned=1_001)
    shown = await results(query, learned=1_001)
    assert shown["models"][0]["window"]["log_loss"] < 0.2
    assert shown["models"][0]["served"]["since"]["log_loss"] > 2
    assert "the newest 500 answers" in shown["withheld_because"]


async def test_models_of_a_value_are_compared_with_the_running_mean(
    query: httpx.AsyncClient, publisher: Publisher
) -> None:
    await create(query, target="value", value="price")
    labels = np.array([1.0, 3.0] * 300)
    publisher.model(
        {
            "examples": np.array([600], np.int64),
            "means": np.array([0.5, 0.25, 1.0, 4.0]),
            "window_scores": labels + 0.5,
            "window_base_scores": np.full(600, 2.0),
            "window_labels": labels,
        },
        ModelSpec("linear_regression"),
    )
    (model,) = (await results(query))["models"]
    assert model["better_than_base"] is True
    figures = {"examples": 600, "mae": 0.5, "rmse": 0.5, "base_mae": 1.0}
    assert model["window"] == figures | {"base_rmse": 1.0, "standard_error": 0.0}
    assert model["since"] == figures | {"base_rmse": 2.0, "standard_error": None}


async def test_a_record_that_is_not_one_of_a_model_is_refused_and_its_scores_are_withheld(
    query: httpx.AsyncClient, publisher: Publisher
) -> None:
    await create(query)
    publisher.model(good())
    await results(query)
    publisher.model(good(), kind="pickle")
    shown = await results(query, learned=0)
    assert shown["models"][0]["window"] is None
    assert "its record is refused: kind: must be one of" in shown["withheld_because"]
    publisher.model(good())
    await results(query)
    publisher.model(good(), prediction_id="other")
    answer = await eventually(
        lambda: query.get(f"{PREDICTIONS}/buys/results"), lambda answer: answer.json()["withheld"]
    )
    assert "it is under the key of another" in answer.json()["withheld_because"]


async def test_models_of_a_prediction_that_was_deleted_are_not_those_of_the_next(
    query: httpx.AsyncClient, publisher: Publisher
) -> None:
    await create(query)
    publisher.model(good())
    await results(query)
    assert (await query.delete(f"{PREDICTIONS}/buys")).status_code == 204
    assert (await create(query))["version"] == 2
    await results(query, learned=0)


# ── which model scores ───────────────────────────────────────────────────────────────────────────


async def test_a_challenger_is_promoted_in_place(query: httpx.AsyncClient) -> None:
    await create(query, challengers=[{"kind": "logistic_adagrad"}])
    url = f"{PREDICTIONS}/buys/promote"
    answer = await query.post(url, json={"model": ADAGRAD.name}, headers={"if-match": '"1"'})
    check(f"{ONE}/promote", answer)
    shown = answer.json()
    assert (shown["champion"], shown["revision"], shown["version"]) == (ADAGRAD.name, 2, 1)
    assert answer.headers["etag"] == '"2"'
    assert (await query.get(f"{PREDICTIONS}/buys")).json() == shown

    answer = await query.post(url, json={"model": CHAMPION.name}, headers={"if-match": '"1"'})
    assert answer.status_code == 409
    answer = await query.post(url, json={"model": CHAMPION.name, "revision": 1})
    assert answer.status_code == 409
    assert (await query.post(url, json={"model": CHAMPION.name})).json()["revision"] == 3
    assert (
        await query.post(f"{PREDICTIONS}/other/promote", json={"model": "a"})
    ).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "model"),
        ({"model": "logistic_sgd"}, "model"),
        ({"model": 3}, "model"),
        ({"model": "logistic_sgd_0.003", "name": "a"}, "name"),
    ],
    ids=str,
)
async def test_what_is_no_model_of_the_prediction_is_not_promoted(
    query: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    await create(query)
    answer = await query.post(f"{PREDICTIONS}/buys/promote", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == field
    assert (await query.get(f"{PREDICTIONS}/buys")).json()["revision"] == 1


async def test_a_definition_may_name_the_champion_and_keeps_it_with_its_name(
    query: httpx.AsyncClient, publisher: Publisher
) -> None:
    challengers = [{"kind": "logistic_adagrad"}]
    shown = await create(query, challengers=challengers, champion=ADAGRAD.name)
    assert decode(publisher.stored()).promoted == 1
    renamed = await query.put(f"{PREDICTIONS}/buys", json=shown | {"name": "Buyers"})
    assert (renamed.json()["champion"], decode(publisher.stored()).promoted) == (ADAGRAD.name, 1)
    back = await query.put(f"{PREDICTIONS}/buys", json=renamed.json() | {"champion": None})
    assert (back.json()["version"], decode(publisher.stored()).promoted) == (1, 3)
    again = await query.put(f"{PREDICTIONS}/buys", json=BUYS | {"within_s": 60})
    assert (again.json()["version"], decode(publisher.stored()).promoted) == (2, 0)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"champion": "logistic_adagrad_0.1"}, "champion"),
        ({"promotion": {}}, "promotion"),
        ({"promotion": {}, "challengers": [{"kind": "hoeffding_tree"}]}, "promotion"),
        (
            {
                "promotion": {},
                "model": {"kind": "base_rate"},
                "challengers": [{"kind": "logistic_sgd"}],
            },
            "promotion",
        ),
        ({"promotion": {"margin": 0}}, "promotion.margin"),
        ({"promotion": {"examples": 99}}, "promotion.examples"),
        ({"promotion": {"rule": "worst"}}, "promotion.rule"),
    ],
    ids=str,
)
async def test_a_champion_or_a_rule_that_cannot_be_is_refused(
    query: httpx.AsyncClient, more: dict[str, Any], field: str
) -> None:
    answer = await query.post(PREDICTIONS, json=BUYS | {"id": "buys"} | more)
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == field


async def test_with_a_rule_only_what_it_compares_is_promoted(query: httpx.AsyncClient) -> None:
    challengers = [{"kind": "logistic_adagrad"}, {"kind": "hoeffding_tree"}]
    shown = await create(query, challengers=challengers, promotion={})
    assert shown["promotion"] == {}
    answer = await query.post(f"{PREDICTIONS}/buys/promote", json={"model": "hoeffding_tree"})
    assert answer.json()["error"]["field"] == "model"
    without = await query.put(f"{PREDICTIONS}/buys", json=shown | {"promotion": None})
    assert (without.json()["version"], without.json()["revision"]) == (1, 2)
    answer = await query.post(f"{PREDICTIONS}/buys/promote", json={"model": "hoeffding_tree"})
    assert answer.json()["champion"] == "hoeffding_tree"


async def test_the_results_say_who_scores_since_when_and_why(
    query: httpx.AsyncClient, publisher: Publisher
) -> None:
    await create(query, challengers=[{"kind": "logistic_adagrad"}])
    url = f"{PREDICTIONS}/buys/results"
    defined = {
        "model": CHAMPION.name,
        "since": 0,
        "learned": 0,
        "reason": "defined",
        "before": None,
    }
    assert (await query.get(url)).json()["champion"] == defined
    publisher.model(good())
    shown = await results(query)
    assert (shown["champion"], shown["withheld"]) == (defined, False)

    reign: dict[str, Any] = {
        "champion": ADAGRAD.name,
        "champion_since": 9,
        "champion_learned": 800,
        "champion_reason": "rule",
        "champion_before": CHAMPION.name,
    }
    publisher.model(bad(), ADAGRAD, position=10, **reign)
    answer = await eventually(
        lambda: query.get(url), lambda answer: answer.json()["champion"]["reason"] == "rule"
    )
    check(f"{ONE}/results", answer)
    shown = answer.json()
    assert shown["champion"] == {
        "model": ADAGRAD.name,
        "since": 9,
        "learned": 800,
        "reason": "rule",
        "before": CHAMPION.name,
    }
    assert [(one["name"], one["champion"]) for one in shown["models"]] == [
        (ADAGRAD.name, True),
        (CHAMPION.name, False),
    ]
    assert shown["withheld"] is True  # of what scores now


# ── what the worker and the trainer write ────────────────────────────────────────────────────────


async def test_the_record_that_the_trainer_writes_of_a_model_is_read(
    query: httpx.AsyncClient, publisher: Publisher, place: Place
) -> None:
    await create(query)
    definition = decode(publisher.stored())
    task = PredictionInstance(definition, 0).task
    learner = ModelLearner.new(task, CHAMPION)
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(700, len(task.features))).astype(np.float32)
    labels = (rows[:, 0] > 1).astype(np.float64)
    scores = np.where(np.arange(700) < 50, np.nan, 0.5)
    zeros = np.zeros(700, np.int64)
    lesson = Lesson(rows, labels, scores, zeros, zeros)
    learner.serve(lesson, learner.learn(lesson))
    counts = Counts(asked=710, learned=700, late_outcomes=3)
    merge = Merge(merged_to=1_000, partitions=2, history=(True,), limits=(5,))
    standing = Championship(task, 0).standing
    progress = Progress(9, 0, 9, (0,), (5,), (710,), counts, 1, 2, merge, 4, standing=standing)
    topic = place.settings.topics.models.name
    with Registry(place.settings.bootstrap) as registry:
        value = RecordCodec(registry, topic).encode(task, learner, progress, "log")
    key = ModelKey.of(task, learner.name).encode()
    produce(place.settings.bootstrap, topic, [Record(value, key)])

    shown = await results(query, learned=700)
    assert (shown["answers"]["open"], shown["answers"]["late_outcomes"]) == (10, 3)
    assert shown["answers"]["merging"] is True
    assert shown["answers"]["merged_to"] == "1970-01-01T00:00:01Z"
    assert shown["answers"]["unmerged"] == 4
    (model,) = shown["models"]
    maturity, served = learner.maturity, learner.served
    assert isinstance(maturity, OutcomeQuality)
    assert isinstance(served, OutcomeQuality)
    for span, figures in (
        (model["window"], maturity.window()),
        (model["since"], maturity.since()),
        (model["served"]["window"], served.window()),
        (model["served"]["since"], served.since()),
    ):
        assert span["examples"] == figures.examples
        assert span["log_loss"] == figures.log_loss
        assert span["calibration_error"] == figures.calibration_error
    assert model["window"]["roc_auc"] == maturity.window().roc_auc
    assert model["served"]["window"]["examples"] == 650
    assert model["better_than_base"] is False  # for 0.5 was served, of which one in six comes true
