"""`avila predict` as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from pipelines.models.create import create
from pipelines.models.export import open_model
from pipelines.models.rows import interleaved
from schemas.model_spec import ModelSpec
from schemas.operators.prediction import PREDICTION, decode
from schemas.settings import Settings
from services.cli.predict_report import plot
from services.query.operators.prediction.quality import BinResponse
from tests.kafka import Record, produce
from tests.services.query.conftest import Place
from tests.services.query.predictions import CHAMPION, FEATURES, Publisher, bad, good
from tests.sinks.processes import environment

ROOT = Path(__file__).parents[3]
BODY: dict[str, Any] = {
    "goal": {"event": "buy"},
    "within_s": 1_800,
    "challengers": [{"kind": "logistic_adagrad"}, {"kind": "base_rate"}],
}


def run(settings: Settings, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(
        [sys.executable, "-m", "services", "predict", *arguments],
        env=environment(settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == code, ended.stderr
    return ended


def define(settings: Settings, body: dict[str, Any]) -> Publisher:
    """Write a definition as the query service does; returns what publishes its results."""
    common = {"project_id": "shop", "id": "buys", "version": 1, "created_at": 1, "updated_at": 2}
    definition = PREDICTION.decode(msgspec.json.encode({**common, "prediction": body}))
    record = Record(PREDICTION.encode(definition), definition.key)
    produce(settings.bootstrap, settings.topics.definitions.name, [record])
    return Publisher(Place(settings, "", 0))


def test_the_quality_of_models_is_shown_with_the_reliability_of_one(settings: Settings) -> None:
    publisher = define(settings, BODY)
    publisher.live()
    publisher.model(good(), served=good(600))
    publisher.model(bad(), ModelSpec("logistic_adagrad"))

    shown = run(settings, "shop", "buys").stdout
    lines = [line.split() for line in shown.splitlines()]
    assert shown.startswith("buys, version 1: live\n")
    assert "learned 1,000, open 290" in shown
    assert "withheld" not in shown
    (champion, whole) = (line for line in lines if line[:2] == [CHAMPION.name, "(champion)"])
    assert champion[2:] == ["1,000", "0.1682", "0.5623", "1.0000", "1.0000", "0.1500"]
    assert whole[5:7] == ["-", "-"]
    assert ["as", "served", "600", *champion[3:]] in lines
    assert f"{CHAMPION.name}: its loss has changed 2 times" in shown
    assert "is not less than" in shown
    assert shown.count("●") == 2
    assert "○" not in shown

    other = run(settings, "shop", "buys", "--model", "logistic_adagrad_0.1").stdout
    assert "logistic_adagrad_0.1: of the newest answers" in other

    answered = json.loads(run(settings, "shop", "buys", "--json").stdout)
    assert [one["learned"] for one in answered["models"]] == [1_000, 1_000, 0]
    assert answered["prediction"]["id"] == "buys"


def test_what_is_not_there_is_said_in_one_line(settings: Settings, tmp_path: Path) -> None:
    define(settings, BODY)
    assert "project shop has no prediction none" in run(settings, "shop", "none", code=1).stderr
    wrong = run(settings, "shop", "buys", "--model", "oracle", code=1)
    assert "accepted are logistic_sgd_0.003, logistic_adagrad_0.1, base_rate" in wrong.stderr
    file = str(tmp_path / "model")
    early = run(settings, "shop", "buys", "--export", file, code=1)
    assert "has learned nothing yet" in early.stderr
    base = run(settings, "shop", "buys", "--model", "base_rate", "--export", file, code=1)
    assert "River has no model that is a base_rate" in base.stderr
    assert not Path(file).exists()
    assert "scores are withheld: it has learned nothing yet" in run(settings, "shop", "buys").stdout


def test_a_model_is_promoted_and_shown_as_the_champion_as_soon_as_its_record_says_so(
    settings: Settings,
) -> None:
    publisher = define(settings, BODY)
    publisher.live()
    challenger = "logistic_adagrad_0.1"
    promoted = run(settings, "shop", "buys", "--promote", challenger)
    assert f"{challenger} is to score, by revision 2" in promoted.stderr
    stored = decode(publisher.stored())
    assert (stored.prediction.champion, stored.promoted, stored.version) == (challenger, 2, 1)

    reign: dict[str, Any] = {
        "champion": challenger,
        "champion_since": 1_234,
        "champion_learned": 900,
        "champion_reason": "command",
        "champion_before": CHAMPION.name,
    }
    publisher.model(good(), ModelSpec("logistic_adagrad"), **reign)
    shown = run(settings, "shop", "buys").stdout
    assert f"{challenger} scores: a command promoted it after 900 answers, at offset 1,234" in shown
    assert f"{challenger} (champion)" in shown
    wrong = run(settings, "shop", "buys", "--promote", "oracle", code=1)
    assert "accepted are logistic_sgd_0.003, logistic_adagrad_0.1, base_rate" in wrong.stderr


def test_an_exported_model_goes_on_in_river_as_it_would_have_here(
    settings: Settings, tmp_path: Path
) -> None:
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(300, len(FEATURES))).astype(np.float32)
    labels = (rows[:, 0] + rng.normal(size=300) > 0).astype(np.float64)
    model = create(CHAMPION, FEATURES)
    model.fold(rows[:200], labels[:200], interleaved(200))
    define(settings, BODY).model(good(), arrays=model.arrays(), learned=200)

    file = tmp_path / "model"
    said = run(settings, "shop", "buys", "--export", str(file))
    assert said.stdout == ""
    assert f"200 examples: {file.stat().st_size:,} bytes" in said.stderr
    river: Any = open_model(file)
    ours = model.fold(rows[200:], labels[200:], interleaved(100))
    scores = ours[~np.isnan(ours)]
    for row, label, score in zip(rows[200:], labels[200:], scores, strict=True):
        example = dict(zip(FEATURES, row.tolist(), strict=True))
        assert river.predict_proba_one(example)[True] == score
        river.learn_one(example, bool(label))


def test_the_plot_has_the_diagonal_and_a_mark_for_each_bin() -> None:
    bins = [
        BinResponse(0.0, 0.1, 500, 0.05, 0.1),
        BinResponse(0.1, 0.2, 0, None, None),
        BinResponse(0.9, 1.0, 19, 1.0, 0.0),
    ]
    lines = plot(bins)
    assert lines[0].startswith("  1.0 ┤")
    assert lines[0].endswith("·")
    assert lines[9].index("●") == 9  # a rate of 0.1; the score is a twentieth of the way
    assert lines[10].index("○") == 57
    assert lines[-1].split() == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]


@pytest.mark.parametrize("module", ["numba", "river", "pipelines"])
def test_reading_a_prediction_loads_nothing_that_takes_long(module: str) -> None:
    modules = "services.predict, services.cli.predict_report"
    code = f"import sys, {modules}; print({module!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
