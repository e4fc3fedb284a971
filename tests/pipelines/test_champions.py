"""What the models that score say of their scores: withheld unless they have shown to be better."""

import time

import numpy as np

from pipelines.models.create import create
from pipelines.models.stored import model_part
from pipelines.operators.prediction.champions import Champions
from pipelines.operators.prediction.instance import PredictionInstance
from schemas.avro import files
from schemas.avro.codec import Encoder
from schemas.event_filter import EventFilter
from schemas.model_keys import ModelKey
from schemas.model_record import Array, ModelRecord, named_part, to_fields
from schemas.model_spec import ModelSpec
from schemas.operators.prediction import Prediction, PredictionDefinition
from schemas.registry.subjects import value_subject
from schemas.settings import Settings
from tests.kafka import Record
from tests.pipelines.in_process import produce, registry_of
from tests.services.query.predictions import bad, good

_TIMEOUT_S = 120.0
SPEC = ModelSpec("logistic_sgd")


def test_scores_are_withheld_until_a_record_shows_that_the_model_is_better(
    settings: Settings,
) -> None:
    body = Prediction(goal=EventFilter("buy"), within_s=60)
    definition = PredictionDefinition(
        project_id="shop", id="buys", version=1, created_at=0, updated_at=0, prediction=body
    )
    task = PredictionInstance(definition, 0).task
    champions = Champions(settings, registry_of(settings.bootstrap))
    champions.require(task)
    champions.follow()
    assert champions.withholds(task)

    def publish(quality: dict[str, Array], version: int) -> None:
        model = create(SPEC, task.features)
        arrays = {**model_part(model), **named_part("maturity", quality)}
        record = ModelRecord(
            *("shop", "buys", 1, SPEC, task.feature_schema, task.features),
            *(model.version, bytes(16), version, arrays),
        )
        topic, schema = settings.topics.models.name, files.load("model")
        registry = registry_of(settings.bootstrap)
        encoder = Encoder(schema, registry.register(value_subject(topic), schema))
        (value,) = encoder.encode_records([to_fields(record)])
        produce(settings, topic, [Record(value, ModelKey.of(task, SPEC.name).encode(), 0)])

    for number, (quality, withheld) in enumerate([(good(), False), (bad(), True), (good(), False)]):
        publish(quality, number)
        deadline = time.monotonic() + _TIMEOUT_S
        while champions.withholds(task) != withheld:
            assert time.monotonic() < deadline, "the record does not show"
            champions.follow()
    assert np.isfinite(champions.score(task, np.zeros((1, len(task.features)), np.float32)).scores)
