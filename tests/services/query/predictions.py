"""A stand-in for the worker and the trainer, and how tests ask for predictions."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import numpy as np
import pyarrow as pa

from schemas.avro.codec import Encoder
from schemas.avro.files import load
from schemas.model_record import Array, ModelRecord, named_part, to_fields
from schemas.model_spec import ModelSpec
from schemas.operators.prediction import PREDICTION, decode
from schemas.registry.log import Registry
from schemas.registry.subjects import value_subject
from schemas.topic import Topic
from services.query.operators.prediction.models import key_of
from tests.conftest import PARTITIONS
from tests.kafka import Record, produce, read_all
from tests.services.query.conftest import Place, eventually
from tests.services.query.test_openapi import check

PREDICTIONS = "/api/projects/shop/predictions"
ONE = "/api/projects/{project}/predictions/{id}"
BUYS: dict[str, Any] = {"goal": {"event": "buy"}, "within_s": 1_800, "at": {"event": "view"}}
CHAMPION = ModelSpec("logistic_sgd")
FEATURES = ("recency", "trend_1h", "goal_share")
_KEY = ("project_id", "prediction_id", "version", "day", "partition")


def outcome_arrays(scores: Sequence[float], base: float, labels: Sequence[int]) -> dict[str, Array]:
    """What a record has of the quality of scores beside a base rate that is always the same."""
    judged, positive = np.array(scores), np.array(labels) == 1
    places = np.minimum((judged * 10).astype(np.int64), 9)
    counts = np.stack([np.bincount(places[of], minlength=10) for of in (places >= 0, positive)], 1)
    sums = np.bincount(places, weights=judged, minlength=10)
    losses = [-math.log(s if label else 1 - s) for s, label in zip(scores, labels, strict=True)]
    base_losses = np.where(positive, -math.log(base), -math.log(1 - base))
    words = np.zeros(8 * -(-len(labels) // 64), np.uint8)
    bits = np.packbits(positive, bitorder="little")
    words[: len(bits)] = bits
    return {
        "examples": np.array([len(labels)], np.int64),
        "means": np.array([float(np.mean(losses)), float(base_losses.mean())]),
        "counts": counts.astype(np.int64),
        "sums": sums.astype(np.float64),
        "window_scores": judged,
        "window_base_losses": base_losses,
        "window_labels": words.view("<i8").astype(np.int64),
    }


def good(examples: int = 1_000) -> dict[str, Array]:
    """Quality that is better than the base rate: one in four is positive, and scores know it."""
    labels = [int(number % 4 == 0) for number in range(examples)]
    return outcome_arrays([0.7 if label else 0.1 for label in labels], 0.25, labels)


def bad(examples: int = 1_000) -> dict[str, Array]:
    """Quality that is worse than the base rate."""
    labels = [int(number % 4 == 0) for number in range(examples)]
    return outcome_arrays([0.1 if label else 0.9 for label in labels], 0.25, labels)


class Publisher:
    """Publishes what the worker and the trainer do: keys, wire format, partitions."""

    def __init__(self, place: Place) -> None:
        self._settings = place.settings
        self.project = place.renamed("shop")

    def questions(self, *rows: dict[str, Any]) -> None:
        """Write what was asked; what is not given has a value that is most ordinary."""
        common: dict[str, Any] = {
            "project_id": self.project,
            "prediction_id": "buys",
            "version": 1,
            "partition": 0,
            "day": None,
            **dict.fromkeys(("asked", "capped", "sampled_out", "late_triggers"), 0),
            "open": [],
            "clock": None,
            "late_dropped": 0,
            "position": 7,
            **dict.fromkeys(("backfilling_to", "live_since", "behind", "behind_since"), None),
            "failed": None,
            "updated_at": 1_000,
        }
        filled = [common | row for row in rows]
        keys = ["/".join(str(row[name]) for name in _KEY).encode() for row in filled]
        self._send(
            PREDICTION.aggregates.topic(self._settings.topics), "prediction-result", keys, filled
        )

    def live(self, version: int = 1) -> None:
        """Say of both partitions that the version is live."""
        self.questions(*({"version": version, "partition": number} for number in range(PARTITIONS)))

    def scores(self, scores: Mapping[str, float | None], version: int = 1) -> None:
        """Write scores; None deletes one."""
        rows = [
            {
                "project_id": self.project,
                "prediction_id": "buys",
                "version": version,
                "person_id": person,
                "at": 1_000,
                "score": score or 0.0,
                "model": CHAMPION.name,
                "model_version": 48,
                "contributions": [
                    {"feature": "recency", "value": 0.5, "contribution": score or 0.0},
                    {"feature": "trend_1h", "value": 1.5, "contribution": -0.25},
                ][: 0 if person == "bare" else 2],
                "withheld": False,
            }
            for person, score in scores.items()
        ]
        keys = [f"{self.project}/buys/{person}".encode() for person in scores]
        gone = [score is None for score in scores.values()]
        topic = PREDICTION.changes[0].topic(self._settings.topics)
        self._send(topic, "prediction-score", keys, rows, gone)

    def model(
        self,
        quality: Mapping[str, Array],
        spec: ModelSpec = CHAMPION,
        version: int = 1,
        arrays: Mapping[str, Array] | None = None,
        served: Mapping[str, Array] | None = None,
        **changed: Any,
    ) -> None:
        """Write the record of a model; `arrays` is what it scores with."""
        drift = {"counts": np.array([1_000, 2], np.int64)}
        training = {"counts": np.array([1_300, 1_000, 7, 3, 5, 0, 0, 0, 2], np.int64)}
        record = ModelRecord(
            project_id=self.project,
            prediction_id="buys",
            version=version,
            spec=spec,
            feature_schema="0" * 64,
            features=FEATURES,
            learned=1_000,
            learned_ids=bytes(16),
            position=9,
            arrays=named_part("maturity", quality)
            | named_part("served", served or {})
            | named_part("drift", drift)
            | named_part("training", training)
            | named_part("model", arrays or {}),
        )
        definition = decode(self.stored())
        assert definition.version == version
        key = key_of(definition, spec).encode()
        self._send(self._settings.topics.models, "model", [key], [to_fields(record) | changed])

    def stored(self) -> bytes:
        """The newest definition of the prediction on the topic."""
        records = read_all(self._settings.bootstrap, self._settings.topics.definitions.name)
        key = f"{self.project}/prediction/buys".encode()
        value = [record.value() for record in records if record.key() == key][-1]
        assert value is not None
        return value

    def _send(
        self,
        topic: Topic,
        schema: str,
        keys: list[bytes],
        rows: list[dict[str, Any]],
        gone: Sequence[bool] = (),
    ) -> None:
        loaded = load(schema)
        with Registry(self._settings.bootstrap) as registry:
            encoder = Encoder(loaded, registry.register(value_subject(topic.name), loaded))
        values = encoder.encode(pa.RecordBatch.from_pylist(rows, schema=encoder.arrow))
        ends = gone or [False] * len(rows)
        records = [
            Record(None if end else value, key, row.get("partition", 0))
            for key, value, row, end in zip(keys, values, rows, ends, strict=True)
        ]
        produce(self._settings.bootstrap, topic.name, records)


async def create(client: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    """Create the prediction `buys`."""
    answer = await client.post(PREDICTIONS, json=BUYS | {"id": "buys"} | more)
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def results(client: httpx.AsyncClient, learned: int = 1_000) -> dict[str, Any]:
    """The results once the champion's record is known."""
    url = f"{PREDICTIONS}/buys/results"
    answer = await eventually(
        lambda: client.get(url), lambda answer: answer.json()["models"][0]["learned"] == learned
    )
    check(f"{ONE}/results", answer)
    shown: dict[str, Any] = answer.json()
    return shown
