"""Models as the trainer keeps them on `avila.models`: with how far they are trained."""

import contextlib
import hashlib
from collections.abc import Iterator
from typing import Final

import numpy as np

from pipelines.columnar.jit import Int64s
from pipelines.models.arrays import Float64s
from pipelines.models.parts import ArrayReader
from pipelines.models.stored import check_fits
from pipelines.trainer.championship import Standing
from pipelines.trainer.fold import Counts, Progress
from pipelines.trainer.learner import Learner
from pipelines.trainer.model_learner import DRIFT_PART, ModelLearner
from pipelines.trainer.model_log import StoredModel, TaskId
from pipelines.trainer.source_clocks import Merge
from schemas.avro import files
from schemas.avro.codec import Codec, Encoder
from schemas.errors import InvalidRecord, InvalidRequest
from schemas.examples.checksum import from_signed, to_signed
from schemas.examples.columns import Serving, Task
from schemas.model_record import ModelRecord, Reign, from_fields, named_part, to_fields
from schemas.model_spec import OUTCOME_KINDS, VALUE_KINDS, ModelKind, ModelSpec
from schemas.registry.client import SchemaRegistry
from schemas.registry.subjects import value_subject

_TRAINING: Final = "training"
_REASON: Final = "invalid_model"
_CALIBRATED: Final = "_calibrated"
_KINDS: Final[tuple[ModelKind, ...]] = (*OUTCOME_KINDS, *VALUE_KINDS)
_COUNTS: Final = tuple(Counts.__dataclass_fields__)
_MAX_SCORES: Final = 40_000  # so that a record has room for them


class RecordCodec:
    """The `ModelCodec` of production. Connecting it blocks."""

    def __init__(self, registry: SchemaRegistry, topic: str) -> None:
        schema = files.load("model")
        self._encoder = Encoder(schema, registry.register(value_subject(topic), schema))
        self._codec = Codec(schema, registry.find, shipped=files.history("model"))

    def create(self, task: Task, name: str) -> Learner:
        """Return a model that has learned nothing; see `ModelCodec`."""
        spec = spec_named(name)
        if spec.predicts_outcome == (task.target == "value"):
            raise InvalidRequest(f"{name!r} does not predict the target {task.target}", "models")
        return ModelLearner.new(task, spec)

    def encode(self, task: Task, learner: Learner, progress: Progress, log_id: str) -> bytes:
        """Return a record's value; see `ModelCodec`."""
        assert isinstance(learner, ModelLearner), "this codec has created it"
        training = _training_arrays(task, progress, log_id)
        assert progress.standing is not None, "only records of earlier versions have none"
        is_champion = learner.name == progress.standing.reign.model
        if is_champion and not learner.model.spec.rebuilt:
            training |= _scores(progress)
        record = ModelRecord(
            task.project_id,
            task.prediction_id,
            task.version,
            learner.model.spec,
            task.feature_schema,
            task.features,
            learner.version,
            progress.checksum.to_bytes(8, "little") + progress.counts.learned.to_bytes(8, "little"),
            progress.position,
            {**learner.arrays(), **named_part(_TRAINING, training)},
            reign=progress.standing.reign,
        )
        (value,) = self._encoder.encode_records([to_fields(record)])
        return value

    def decode(self, value: bytes) -> StoredModel:
        """Read a record's value; see `ModelCodec`."""
        decoded = self._codec.decode([value])
        for failure in decoded.failures:
            raise InvalidRecord(_REASON, failure.detail)
        record = from_fields(decoded.batch.to_pylist()[0])
        tag, log, progress = _training_of(record)
        id_ = TaskId(record.project_id, record.prediction_id, record.version, tag)

        def is_of(log_id: str) -> bool:
            return bool((log == _log_digest(log_id)).all())

        def restore(task: Task) -> Learner:
            spec = spec_named(record.spec.name)
            champion = record.reign.model or task.models[0]
            if champion not in task.models:
                raise InvalidRecord(_REASON, "champion: must be a model of the definition")
            check_fits(record, spec, task.version, task.feature_schema, task.features)
            if spec.name == champion:
                _check_scores(record, progress)
            return ModelLearner.of_record(task, record)

        counts = record.part(DRIFT_PART).get("counts", np.zeros(2))
        drifts = int(counts[-1]) if counts.shape == (2,) else 0
        return StoredModel(id_, record.spec.name, is_of, progress, restore, drifts)


def spec_named(name: str) -> ModelSpec:
    """Return the spec whose name this is.

    Raises:
        InvalidRequest: there is none.
    """
    plain = name.removesuffix(_CALIBRATED)
    for kind in _KINDS:
        for rate in _rates_in(plain.removeprefix(kind)):
            spec = ModelSpec(kind, rate, name != plain)
            if spec.name == name:
                spec.check("models")
                return spec
    raise InvalidRequest(f"there is no model {name[:80]!r}", "models")


def _rates_in(rest: str) -> Iterator[float | None]:
    """Yield the learning rate that the end of a name could say: none at all, or a number."""
    yield None
    with contextlib.suppress(ValueError):
        yield float(rest.removeprefix("_"))


def _scores(progress: Progress) -> dict[str, Float64s]:
    """Return the scores as a record has them: none if the champion has to be learned again."""
    scores = np.frombuffer(progress.scores, "<f8").astype(np.float64)
    fits = len(scores) <= _MAX_SCORES and np.isfinite(scores).all()
    return {"scores": scores} if fits else {}


def _training_arrays(task: Task, progress: Progress, log_id: str) -> dict[str, Int64s | Float64s]:
    checksums = to_signed(progress.checksum), to_signed(progress.asked_checksum)
    counts = [getattr(progress.counts, name) for name in _COUNTS]
    merge = progress.merge
    assert merge is not None, "only records of earlier versions have none"
    merged = (merge.merged_to, merge.partitions, progress.unmerged, len(progress.scores) // 8)
    return {
        "tag": np.array([task.tag], np.int64),
        "log": _log_digest(log_id),
        "records": np.array([progress.begin, progress.open_from], np.int64),
        "sources": np.array(
            [progress.partitions, progress.clocks, progress.asked_to], np.int64
        ).reshape(3, -1),
        "counts": np.array(counts, np.int64),
        "checksums": np.array(checksums, np.int64),
        "merged": np.array(merged, np.int64),
        "merge": np.array([merge.history, merge.limits], np.int64).reshape(2, -1),
        **({} if progress.standing is None else _standing_arrays(progress.standing)),
    }


def _training_of(record: ModelRecord) -> tuple[int, Int64s, Progress]:
    """Return the tag, the digest of the log, and how far the model was trained.

    Raises:
        InvalidRecord: they are not there, or out of range.
    """
    arrays = record.part(_TRAINING)
    sources = arrays.get("sources", np.empty((0, 0), np.int64))
    merge, unmerged, scores = None, 0, b""
    with ArrayReader(arrays) as reader:
        (tag,) = reader.ints("tag", (1,), -(2**63), 2**63 - 1).tolist()
        log = reader.ints("log", (2,), -(2**63), 2**63 - 1)
        begin, open_from = reader.ints("records", (2,), 0, record.position).tolist()
        shape = (3, sources.shape[-1])
        partitions, clocks, asked_to = reader.ints("sources", shape, -(2**62), 2**62).tolist()
        counts = reader.ints("counts", (len(_COUNTS),), 0, 2**62).tolist()
        learned, asked = reader.ints("checksums", (2,), -(2**63), 2**63 - 1).tolist()
        standing = _standing_of(record.reign, reader)
        if "merged" in arrays:  # an earlier version has not written it
            merged = reader.ints("merged", (4,), -(2**62), 2**62).tolist()
            history, limits = reader.ints("merge", (2, sources.shape[-1]), -(2**62), 2**62).tolist()
            merge = Merge(merged[0], merged[1], tuple(map(bool, history)), tuple(limits))
            unmerged = merged[2]
        if "scores" in arrays:
            scores = reader.floats("scores", arrays["scores"].shape[:1]).astype("<f8").tobytes()
    if not begin <= open_from or len(set(partitions)) != len(partitions):
        raise InvalidRecord(_REASON, "training.records, training.sources: are not in order")
    progress = Progress(
        record.position,
        begin,
        open_from,
        tuple(partitions),
        tuple(clocks),
        tuple(asked_to),
        Counts(*counts),
        from_signed(learned),
        from_signed(asked),
        merge,
        unmerged,
        scores,
        standing,
    )
    return tag, log, progress


def _check_scores(record: ModelRecord, progress: Progress) -> None:
    """Check that the record of a champion has all scores that it has given.

    Raises:
        InvalidRecord: it has not, since they were too many.
    """
    merged = record.part(_TRAINING).get("merged")
    if merged is not None and int(merged[3]) * 8 != len(progress.scores):
        raise InvalidRecord(_REASON, "training.scores: the model must be learned again")


def _standing_arrays(standing: Standing) -> dict[str, Int64s | Float64s]:
    serving = standing.serving
    return {
        "serving": np.array([serving.revision, serving.promoted, serving.compared], np.int64),
        "named": np.frombuffer(serving.champion.encode(), np.uint8).astype(np.int64),
        "margin": np.array([serving.margin]),
        "span": np.array(standing.answers, np.int64),
        "compared": np.array(standing.compared, np.int64),
        "sums": np.array(standing.sums, np.float64).reshape(-1, 3),
    }


def _standing_of(reign: Reign, reader: ArrayReader) -> Standing | None:
    """Return which model scores; None if an earlier version has written the record."""
    models = reader.size("compared")
    if not reign.model or not models:
        return None
    revision, promoted, compared = reader.ints("serving", (3,), 0, 2**62).tolist()
    answers, positives = reader.ints("span", (2,), 0, 2**62).tolist()
    named = bytes(reader.ints("named", (reader.size("named"),), 0, 255).tolist())
    return Standing(
        reign,
        Serving(
            revision,
            named.decode(errors="replace"),
            promoted,
            float(reader.floats("margin", (1,), least=0.0)[0]),
            compared,
        ),
        (answers, positives),
        tuple(reader.ints("compared", (models,), 0, 2**62).tolist()),
        tuple(map(tuple, reader.floats("sums", (models, 3)).tolist())),
    )


def _log_digest(log_id: str) -> Int64s:
    digest = hashlib.blake2b(log_id.encode(), digest_size=16).digest()
    return np.frombuffer(digest, "<i8").astype(np.int64)
