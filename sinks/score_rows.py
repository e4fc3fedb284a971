"""Decoding of avila.predictions into the rows of the table `predictions`. Pure, but for schemas."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from confluent_kafka import Message

from schemas.avro.codec import Codec, Failure
from schemas.avro.files import load
from sinks.chunks import offsets
from sinks.rows import Decoded

SCORE: Final = load("prediction-score")
_TIME: Final = pa.timestamp("ms", "UTC")
# The fields of a score that are not part of its key; a tombstone has zeros there.
_FIELDS: Final = ("version", "at", "score", "model", "model_version", "contributions", "withheld")
_NOTHING: Final = {"version": 0, "at": 0, "score": 0.0, "model": "", "model_version": 0} | {
    "project_id": "",
    "prediction_id": "",
    "person_id": "",
    "contributions": [],
    "withheld": False,
}
# The key of a record, a score's fields, its position on the topic, and whether it is a tombstone.
SCORE_ROWS: Final = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("project_id", "prediction_id", "person_id")),
        *(
            field.with_type(_TIME) if field.name == "at" else field
            for field in (SCORE.arrow.field(name) for name in _FIELDS)
        ),
        pa.field("_partition", pa.uint32()),
        pa.field("_offset", pa.uint64()),
        pa.field("_deleted", pa.uint8()),
    ]
)


def decode_scores(codec: Codec, partition: int, messages: Sequence[Message]) -> Decoded:
    """Decode records of a partition; equal records give equal rows.

    What is not a finite number counts as no score. A record with a key that is not
    `project/prediction/person` is a failure.

    Raises what the look-up of an unknown schema raises; the call can be repeated.
    """
    values = [message.value() for message in messages]
    filled = [row for row, value in enumerate(values) if value is not None]
    decoded = codec.decode([values[row] for row in filled])
    failures = [failure._replace(row=filled[failure.row]) for failure in decoded.failures]
    keys = [_parts(message.key()) for message in messages]
    failures += [
        Failure(row, "undecodable", "the key is not project/prediction/person")
        for row, key in enumerate(keys)
        if key is None
    ]
    failed = {failure.row for failure in failures}
    kept = [row for row in range(len(messages)) if row not in failed]
    # Where each record's score is among the decoded ones; that of a tombstone is the last.
    place_of = {filled[row]: place for place, row in enumerate(decoded.rows.tolist())}
    none = decoded.batch.num_rows
    places = np.array([place_of.get(row, none) for row in kept], np.int64)
    scores = _with_nothing(decoded.batch).take(places)
    gone = (places == none) | ~np.isfinite(scores.column("score").to_numpy())
    columns = {name: scores.column(name) for name in _FIELDS}
    columns["at"] = columns["at"].cast(pa.int64()).view(_TIME)
    columns |= {
        name: pa.array([key[part] for row in kept if (key := keys[row]) is not None], pa.string())
        for part, name in enumerate(("project_id", "prediction_id", "person_id"))
    }
    columns["_partition"] = pa.array(np.full(len(kept), partition, np.uint32))
    columns["_offset"] = pa.array(offsets([messages[row] for row in kept]), pa.uint64())
    columns["_deleted"] = pa.array(gone.astype(np.uint8))
    rows = [columns[name] for name in SCORE_ROWS.names]
    # A record that has two faults is reported once.
    first = {failure.row: failure for failure in reversed(failures)}
    return Decoded(
        pa.RecordBatch.from_arrays(rows, schema=SCORE_ROWS),
        [first[row] for row in sorted(first)],
    )


def _parts(key: bytes | None) -> tuple[str, str, str] | None:
    """Return the project, prediction and person that a key names; None if it names none."""
    try:
        project, prediction, person = (key or b"").decode().split("/", 2)
    except ValueError:
        return None
    return project, prediction, person


def _with_nothing(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch with a row of zeros at its end."""
    nothing = pa.RecordBatch.from_pylist([_NOTHING], schema=batch.schema)
    (joined,) = pa.Table.from_batches([batch, nothing]).combine_chunks().to_batches()
    return joined
