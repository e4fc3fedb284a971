"""Scores for tests: on avila.predictions, and in the table, to compare them."""

import io
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

import fastavro
import pyarrow as pa
from confluent_kafka import Producer

from schemas.avro.codec import Encoder
from schemas.operators.prediction import PREDICTION
from schemas.registry.log import Registry
from schemas.settings import Settings
from sinks.score_rows import SCORE
from tests.kafka import read_all
from tests.sinks.tables import query

AT_MS: Final = 1_762_000_000_000
# The key of a score: project, prediction and person. Its version, time, score, model version,
# contributions, and whether it is withheld.
Key = tuple[str, ...]
Kept = tuple[int, int, float, int, tuple[tuple[str, float, float], ...], bool]


def topic_of(settings: Settings) -> str:
    """Return the name of the topic of scores."""
    return PREDICTION.changes[0].topic(settings.topics).name


def score(person: str, number: int, **values: Any) -> dict[str, Any]:
    """Return what a model says of a person; equal numbers give equal scores."""
    made = random.Random(number)
    return {
        "project_id": "shop",
        "prediction_id": "buys",
        "version": 1,
        "person_id": person,
        "at": AT_MS + number,
        "score": made.random(),
        "model": "logistic_sgd_0.003",
        "model_version": number,
        "contributions": [
            {"feature": "recency", "value": 0.5, "contribution": made.gauss(0, 1)},
            {"feature": "weekend", "value": 1.0, "contribution": -0.25},
        ][: number % 3],
        "withheld": number % 7 == 0,
        **values,
    }


class ScoreTopic:
    """Writes scores as the workers do: in transactions, some of them aborted."""

    def __init__(self, settings: Settings) -> None:
        self._topic = topic_of(settings)
        self._partitions = settings.partitions
        with Registry(settings.bootstrap) as registry:
            schema_id = registry.register(f"{self._topic}-value", SCORE)
        self._encoder = Encoder(SCORE, schema_id)
        self._producer = Producer(
            {
                "bootstrap.servers": settings.bootstrap,
                "transactional.id": f"{self._topic}-worker",
                "log_level": 0,
            }
        )
        self._producer.init_transactions(60)

    def append(self, scores: Sequence[Mapping[str, Any]], *, commit: bool = True) -> None:
        """Write scores in one transaction; a score that is None ends that of its person."""
        told = [{**one, "score": one["score"] or 0.0} for one in scores]
        values = self._encoder.encode(pa.RecordBatch.from_pylist(told, schema=SCORE.arrow))
        self._producer.begin_transaction()
        for one, value in zip(scores, values, strict=True):
            key = f"{one['project_id']}/{one['prediction_id']}/{one['person_id']}"
            # A person is always in the same partition.
            partition = sum(one["person_id"].encode()) % self._partitions
            kept = None if one["score"] is None else value
            self._producer.produce(self._topic, kept, key.encode(), partition)
        if commit:
            self._producer.commit_transaction(60)
        else:
            self._producer.flush(60)
            self._producer.abort_transaction(60)

    def append_raw(self, key: bytes, value: bytes | None, partition: int = 0) -> None:
        """Write a record of any content."""
        self._producer.begin_transaction()
        self._producer.produce(self._topic, value, key, partition)
        self._producer.commit_transaction(60)

    def append_many(self, count: int, *, each: int = 200) -> None:
        """Write scores of 300 persons for three predictions; one in ten ends a person's."""
        made = random.Random(11)
        for number in range(0, count, each):
            scores = [
                score(
                    f"u{made.randrange(300)}",
                    number + row,
                    prediction_id=made.choice(["buys", "leaves", "next-price"]),
                    **({"score": None} if made.random() < 0.1 else {}),
                )
                for row in range(each)
            ]
            if number // each % 3 == 0:
                self.append([score(f"u{n}", -1 - n) for n in range(50)], commit=False)
            self.append(scores)


def latest_on_topic(settings: Settings) -> dict[Key, Kept]:
    """Return the last committed score of each key, read without code of the sink."""
    schema = fastavro.parse_schema(json.loads(SCORE.plain_text))
    found: dict[Key, Kept] = {}
    for message in read_all(settings.bootstrap, topic_of(settings)):
        key = tuple((message.key() or b"").decode().split("/", 2))
        value = message.value()
        if value is None:
            found.pop(key, None)
            continue
        one = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)
        assert isinstance(one, dict)
        found[key] = _kept(one)
    return found


def latest_in_store(settings: Settings) -> dict[Key, Kept]:
    """Return the scores of the view; fails if a key is there twice."""
    rows = query(
        settings,
        "SELECT project_id, prediction_id, person_id, version, toUnixTimestamp64Milli(at), score, "
        "model_version, toJSONString(contributions), withheld "
        f"FROM {settings.clickhouse_database}.latest_predictions",
    )
    found: dict[Key, Kept] = {}
    for *key, version, at, number, model_version, contributions, withheld in rows:
        assert tuple(key) not in found
        parts = tuple(
            (one["feature"], one["value"], one["contribution"]) for one in json.loads(contributions)
        )
        found[tuple(map(str, key))] = (version, at, number, model_version, parts, withheld)
    return found


def _kept(one: Mapping[str, Any]) -> Kept:
    at = one["at"]
    parts = tuple(
        (part["feature"], part["value"], part["contribution"]) for part in one["contributions"]
    )
    at_ms = at if isinstance(at, int) else round(at.timestamp() * 1_000)
    return one["version"], at_ms, one["score"], one["model_version"], parts, one["withheld"]
