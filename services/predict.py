"""Reads a prediction's results and models, and promotes a model, for the command line."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pyarrow as pa

from schemas.errors import Conflict, InvalidRequest, Unavailable
from schemas.model_record import encode, from_fields
from schemas.model_spec import BASE_KINDS
from schemas.operators.prediction import PREDICTION, PredictionDefinition, models_of, promoted
from schemas.registry.client import SchemaRegistry, open_registry
from schemas.settings import Settings
from services.commands import Commands, Write
from services.query.http.params import now_ms
from services.query.operators.context import results_view
from services.query.operators.prediction.models import (
    PREDICTION_MODELS,
    Models,
    ModelState,
    key_of,
    state_of,
)
from services.query.operators.prediction.response import (
    ModelResponse,
    PredictionResultsResponse,
    assemble,
)
from services.query.operators.prediction.view import PREDICTION_QUESTIONS, QuestionsView
from services.query.versions import previous_of
from services.query.views.catalog import Definitions
from services.query.views.changes import Key, read_changes
from services.query.views.progress import LIVE_STATES
from services.query.views.reader import ResultSource, Update, VersionKey
from services.topic_view import TopicView

_CAUGHT_UP_TIMEOUT_S: Final = 60.0

# The fields of a record of `avila.models`, whose types `schemas.model_record` checks.
Fields = dict[str, Any]


class PredictionFound(NamedTuple):
    """The results of a prediction, and the records of its models by their names."""

    results: PredictionResultsResponse
    records: Mapping[str, Fields]

    def model(self, name: str | None) -> ModelResponse:
        """Return a model by its name, or the champion.

        Raises:
            InvalidRequest: there is none of that name; says which there are.
        """
        models = self.results.models
        for model in models:
            if name in {None, model.name}:
                return model
        accepted = ", ".join(model.name for model in models)
        raise InvalidRequest(f"there is no model {name!r}; accepted are {accepted}", "model")

    def json(self) -> str:
        """Return the results in JSON, as REST answers them."""
        return msgspec.json.encode(self.results).decode()


def read_prediction(settings: Settings, project: str, prediction: str) -> PredictionFound:
    """Return the results of a prediction. Blocks until the topics have been read.

    Raises:
        NotFound: there is no such prediction.
        Unavailable: Kafka does not answer.
    """
    with closing(open_registry(settings)) as registry:
        return asyncio.run(_read(settings, registry, Key(project, prediction)))


def promote(settings: Settings, project: str, prediction: str, model: str) -> int:
    """Make a model, by its name, the champion; return the definition's new revision. Blocks.

    Raises:
        NotFound: there is no such prediction.
        InvalidRequest: it has no such model; says which it has.
        Unavailable: Kafka does not answer.
    """
    return asyncio.run(_promote(settings, Key(project, prediction), model))


def export(found: PredictionFound, model: str, file: Path) -> int:
    """Write a model to a file that `pipelines.models.export.open_model` opens; return its size.

    Raises:
        InvalidRequest: River cannot go on from it.
        Conflict: it has learned nothing yet.
        InvalidRecord: its record is not one of a model.
    """
    shown = found.model(model)
    if shown.kind in BASE_KINDS:
        raise InvalidRequest(f"River has no model that is a {shown.kind}", "model")
    fields = found.records.get(model)
    if fields is None:
        raise Conflict(f"the model {model} has learned nothing yet")
    record = from_fields(fields)
    if record.spec.rebuilt:
        raise InvalidRequest(
            f"a {shown.kind} is kept as it scores, without what it needs to go on learning", "model"
        )
    return file.write_bytes(encode(record))


class _StoredModel(NamedTuple):
    version_key: VersionKey
    state: ModelState
    fields: Fields


class _ModelRecords:
    """The models of one prediction, with their whole records."""

    def __init__(self, of: Key) -> None:
        self._of = of
        self._fields: dict[bytes, Fields] = {}
        self.models = Models()

    def read(self, batch: pa.RecordBatch) -> list[_StoredModel]:
        """Read decoded rows; those of other predictions are read without their arrays."""
        stored = []
        for fields in batch.to_pylist():
            named = VersionKey(fields["project_id"], fields["prediction_id"], fields["version"])
            own = Key(*named[:2]) == self._of
            state = state_of(fields) if own else ModelState(named, fields["model"])
            stored.append(_StoredModel(named, state, fields if own else {}))
        return stored

    def apply(self, updates: Sequence[Update[_StoredModel]]) -> None:
        """Take in records in the order of their partitions."""
        self.models.apply(
            Update(key, None if stored is None else stored.state) for key, stored in updates
        )
        for key, stored in updates:
            self._fields.pop(key, None)
            if stored is not None and stored.fields:
                self._fields[key] = stored.fields

    def records(self, definition: PredictionDefinition) -> dict[str, Fields]:
        """Return the records of a version's models by their names."""
        specs = models_of(definition.prediction)
        keys = {spec.name: key_of(definition, spec).encode() for spec in specs}
        return {name: self._fields[key] for name, key in keys.items() if key in self._fields}


async def _promote(settings: Settings, key: Key, model: str) -> int:
    definitions = Definitions[PredictionDefinition](PREDICTION.name)
    view = _definitions_view(settings, definitions)

    def decide() -> Write[int]:
        after = promoted(definitions.get(key), model, now_ms())
        return Write(after.key, PREDICTION.encode(after), {}, after.revision)

    async with _caught_up(settings, [view]):
        return await Commands(settings, view).change(decide)


def _definitions_view(
    settings: Settings, definitions: Definitions[PredictionDefinition]
) -> TopicView[Any]:
    topics = [settings.topics.definitions.name]
    return TopicView("definitions", settings.cluster, topics, read_changes, definitions.apply)


@asynccontextmanager
async def _caught_up(settings: Settings, views: Sequence[TopicView[Any]]) -> AsyncIterator[None]:
    """Follow views inside the block, which begins when they have been read to the end."""
    for view in views:
        view.start()
    try:
        try:
            async with asyncio.timeout(_CAUGHT_UP_TIMEOUT_S):
                for view in views:
                    await view.catch_up()
        except TimeoutError as error:
            raise Unavailable(f"Kafka at {settings.bootstrap} does not answer") from error
        yield
    finally:
        for view in views:
            await view.stop()


async def _read(settings: Settings, registry: SchemaRegistry, key: Key) -> PredictionFound:
    definitions = Definitions[PredictionDefinition](PREDICTION.name)
    questions, stored = QuestionsView(settings.partitions), _ModelRecords(key)
    source = ResultSource(PREDICTION_MODELS.name, PREDICTION_MODELS.topic, stored.read)
    views: list[TopicView[Any]] = [
        _definitions_view(settings, definitions),
        results_view(settings, registry, PREDICTION_QUESTIONS, questions.apply),
        results_view(settings, registry, source, stored.apply),
    ]
    async with _caught_up(settings, views):
        pass
    definition = definitions.get(key)

    def results(
        one: PredictionDefinition, previous: PredictionResultsResponse | None
    ) -> PredictionResultsResponse:
        return assemble(one, questions.aggregates(one), stored.models.of, previous=previous)

    before = _previous(definition, questions)
    earlier = None if before is None else results(before, None)
    return PredictionFound(results(definition, earlier), stored.records(definition))


def _previous(
    definition: PredictionDefinition, questions: QuestionsView
) -> PredictionDefinition | None:
    if questions.status(definition).state in LIVE_STATES:
        return None
    return previous_of(PREDICTION, definition)
