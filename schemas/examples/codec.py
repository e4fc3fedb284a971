"""Between `Examples` and records of `schemas/example.avsc`, strict in both directions.

A refusal names the field and what is accepted, and costs that one record.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import DTypeLike

from schemas.definitions import MAX_WINDOW_S, is_id
from schemas.errors import InvalidRecord
from schemas.examples.columns import (
    MAX_COMPARED,
    MAX_FEATURE_BYTES,
    MAX_FEATURES,
    MAX_MODELS,
    MAX_OUTCOMES,
    MAX_QUESTIONS,
    MAX_VALUE,
    Examples,
    Int64s,
    NotAsked,
    Outcomes,
    Questions,
    Serving,
    Target,
    Task,
)

REASON: Final = "invalid_example"

# A record as Avro's libraries give and take it.
Record = Mapping[str, Any]

_LATEST_MS: Final = 253_402_300_799_999  # the end of the year 9999
_MAX_WINDOW_MS: Final = 1_000 * MAX_WINDOW_S
_MAX_INT: Final = 2**31 - 1
_MAX_LONG: Final = 2**62
_MAX_NAME: Final = 200
_FEATURE_SCHEMA: Final = re.compile(r"[0-9a-f]{64}")
# The columns, by their field: the type on the wire.
_QUESTION_COLUMNS: Final[dict[str, DTypeLike]] = {
    "offsets": "<i8",
    "at": "<i8",
    "persons": "<u8",
    "features": "<f4",
    "scores": "<f8",
    "clocks": "<i8",
}
_OUTCOME_COLUMNS: Final[dict[str, DTypeLike]] = {
    "offsets": "<i8",
    "at": "<i8",
    "persons": "<u8",
    "values": "<f8",
    "clocks": "<i8",
}


# The fields of `Serving`, and what the record calls them.
_SERVING_FIELDS: Final = {
    "revision": "revision",
    "champion": "champion",
    "promoted": "promoted",
    "margin": "promotion_margin",
    "compared": "promotion_examples",
}


def key_of(task: Task) -> bytes:
    """Return the key of a definition's records: `project/prediction`."""
    return f"{task.project_id}/{task.prediction_id}".encode()


def to_record(examples: Examples) -> dict[str, Any]:
    """Return the record of `schemas/example.avsc` for `schemas.avro.codec.Encoder`.

    Raises:
        InvalidRecord: `from_record` would refuse it.
    """
    _check(examples)
    task = examples.task._asdict()
    columns = {
        f"question_{name}": _to_bytes(f"question_{name}", column, _QUESTION_COLUMNS[name])
        for name, column in examples.questions._asdict().items()
    } | {
        f"outcome_{name}": _to_bytes(f"outcome_{name}", column, _OUTCOME_COLUMNS[name])
        for name, column in examples.outcomes._asdict().items()
    }
    return {
        **task,
        "models": list(examples.task.models),
        "features": list(examples.task.features),
        "partition": examples.partition,
        "position": examples.position,
        "clock": examples.clock,
        **columns,
        "model_version": examples.model_version,
        **examples.not_asked._asdict(),
        "ended": examples.ended,
        "history": examples.history,
        "partitions": examples.partitions,
        **{field: getattr(examples.serving, name) for name, field in _SERVING_FIELDS.items()},
        "scored_by": examples.scored_by,
    }


def from_record(record: Record) -> Examples:
    """Return the examples of a record. Columns are read-only and share memory with the record.

    Raises:
        InvalidRecord: a value is not accepted, or columns do not fit one another.
    """
    own = {name: record[name] for name in Task._fields}
    task = Task(**{**own, "models": tuple(own["models"]), "features": tuple(own["features"])})
    _check_task(task)
    questions = {
        name: _from_bytes(f"question_{name}", record[f"question_{name}"], dtype)
        for name, dtype in _QUESTION_COLUMNS.items()
    }
    outcomes = {
        name: _from_bytes(f"outcome_{name}", record[f"outcome_{name}"], dtype)
        for name, dtype in _OUTCOME_COLUMNS.items()
    }
    shape = len(questions["offsets"]), len(task.features)
    if len(questions["features"]) != math.prod(shape):
        raise _refused(
            "question_features",
            f"must be {shape[0]} rows of {shape[1]}, and are {len(questions['features'])} numbers",
        )
    questions["features"] = questions["features"].reshape(shape)
    if not len(questions["clocks"]):  # an earlier version has not written them
        questions["clocks"] = questions["at"]
    examples = Examples(
        task,
        record["partition"],
        record["position"],
        record["clock"],
        Questions(**questions),
        Outcomes(**outcomes),
        record["model_version"],
        NotAsked(**{name: record[name] for name in NotAsked._fields}),
        record["ended"],
        record["history"],
        record["partitions"],
        Serving(**{name: record[field] for name, field in _SERVING_FIELDS.items()}),
        record["scored_by"],
    )
    _check_columns(examples)
    return examples


def _check(examples: Examples) -> None:
    _check_task(examples.task)
    _check_columns(examples)


def _check_serving(examples: Examples) -> None:
    serving, models = examples.serving, examples.task.models
    for field, name in (("champion", serving.champion), ("scored_by", examples.scored_by)):
        if name and name not in models:
            raise _refused(field, f"must be empty or one of {', '.join(models)}")
    _check_range("revision", serving.revision, 0, _MAX_LONG)
    _check_range("promoted", serving.promoted, 0, serving.revision)
    _check_range("promotion_examples", serving.compared, 0, MAX_COMPARED)
    if not 0 <= serving.margin <= MAX_VALUE:  # which NaN is not
        raise _refused("promotion_margin", f"must be 0 to {MAX_VALUE:g}")


def _check_task(task: Task) -> None:
    for field in ("project_id", "prediction_id"):
        if not is_id(getattr(task, field)):
            raise _refused(field, "is not an id")
    if task.target not in get_args(Target):
        accepted = ", ".join(get_args(Target))
        raise _refused("target", f"must be one of {accepted}, and is {task.target!r}")
    _check_range("version", task.version, 1, _MAX_INT)
    _check_range("horizon_ms", task.horizon_ms, 1, _MAX_WINDOW_MS)
    _check_range("lateness_ms", task.lateness_ms, 0, _MAX_WINDOW_MS)
    if not _FEATURE_SCHEMA.fullmatch(task.feature_schema):
        raise _refused("feature_schema", "must be 64 digits of hexadecimal")
    _check_names("models", task.models, MAX_MODELS)
    _check_names("features", task.features, MAX_FEATURES)


def _check_names(field: str, names: tuple[str, ...], most: int) -> None:
    if not 1 <= len(names) <= most:
        raise _refused(field, f"must be 1 to {most}, and are {len(names)}")
    if len(set(names)) != len(names) or not all(0 < len(name) <= _MAX_NAME for name in names):
        raise _refused(field, f"must be different names of 1 to {_MAX_NAME} characters")


def _check_columns(examples: Examples) -> None:
    questions, outcomes = examples.questions, examples.outcomes
    _check_range("partition", examples.partition, 0, _MAX_INT)
    _check_range("position", examples.position, 0, _MAX_LONG)
    _check_range("clock", examples.clock, -_MAX_LONG, _LATEST_MS)
    _check_range("model_version", examples.model_version, -1, _MAX_LONG)
    _check_range("partitions", examples.partitions, 0, _MAX_INT)
    for field, count in examples.not_asked._asdict().items():
        _check_range(field, count, 0, _MAX_INT)
    _check_serving(examples)
    _check_lengths("question", questions, MAX_QUESTIONS)
    _check_lengths("outcome", outcomes, MAX_OUTCOMES)
    if questions.features.shape[1:] != (len(examples.task.features),):
        raise _refused("question_features", f"must have {len(examples.task.features)} a row")
    if questions.features.nbytes > MAX_FEATURE_BYTES:
        raise _refused("question_features", f"must have {MAX_FEATURE_BYTES} bytes or fewer")
    for kind, offsets, at, clocks in (
        ("question", questions.offsets, questions.at, questions.clocks),
        ("outcome", outcomes.offsets, outcomes.at, outcomes.clocks),
    ):
        _check_offsets(f"{kind}_offsets", offsets, examples.position)
        if len(at) and not (at.min() >= 0 and at.max() <= _LATEST_MS):
            raise _refused(f"{kind}_at", f"must be 0 to {_LATEST_MS}")
        if len(clocks) and not (clocks.min() >= -_MAX_LONG and clocks.max() <= _LATEST_MS):
            raise _refused(f"{kind}_clocks", f"must be at most {_LATEST_MS}")
    if not np.isfinite(questions.features).all():
        raise _refused("question_features", "must be finite")
    if not (np.abs(outcomes.values) <= MAX_VALUE).all():  # which NaN is not
        raise _refused("outcome_values", f"must be {-MAX_VALUE:g} to {MAX_VALUE:g}")
    scores = questions.scores[~np.isnan(questions.scores)]
    least, most = (0.0, 1.0) if examples.task.target != "value" else (-MAX_VALUE, MAX_VALUE)
    if not ((scores >= least) & (scores <= most)).all():
        accepted = f"{least:g} to {most:g}, or NaN where there was no model"
        raise _refused("question_scores", f"must be {accepted}")


def _check_lengths(kind: str, columns: Questions | Outcomes, most: int) -> None:
    count = len(columns.offsets)
    if count > most:
        raise _refused(f"{kind}_offsets", f"must be {most} or fewer, and are {count}")
    for name, column in columns._asdict().items():
        if len(column) != count:
            raise _refused(f"{kind}_{name}", f"must be {count} rows, and are {len(column)}")


def _check_offsets(field: str, offsets: Int64s, position: int) -> None:
    ascending = (np.diff(offsets) > 0).all()
    if len(offsets) and not (ascending and offsets[0] >= 0 and offsets[-1] < position):
        raise _refused(field, f"must be ascending, from 0 to below the position {position}")


def _check_range(field: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise _refused(field, f"must be {least} to {most}, and is {value}")


def _to_bytes(field: str, column: np.ndarray[Any, Any], dtype: DTypeLike) -> bytes:
    if column.dtype.newbyteorder("<") != np.dtype(dtype):
        raise _refused(field, f"must be {np.dtype(dtype).name}, and is {column.dtype.name}")
    return column.astype(dtype, copy=False).tobytes()


def _from_bytes(field: str, data: bytes, dtype: DTypeLike) -> np.ndarray[Any, Any]:
    size = np.dtype(dtype).itemsize
    if len(data) % size:
        raise _refused(field, f"must be a multiple of {size} bytes, and is {len(data)}")
    return np.frombuffer(data, dtype)


def _refused(field: str, why: str) -> InvalidRecord:
    return InvalidRecord(REASON, f"{field}: {why}")
