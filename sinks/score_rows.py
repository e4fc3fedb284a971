"""Decoding of avila.predictions into the rows of the table `predictions`. Pure, but for schemas."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from confluent_kafka import Message

from schemas.avro.codec import Codec
from schemas.avro.files import load
from sinks.keyed_rows import PLACE, place_columns, read_keyed
from sinks.rows import Decoded

SCORE: Final = load("prediction-score")
_TIME: Final = pa.timestamp("ms", "UTC")
_KEY: Final = ("project_id", "prediction_id", "person_id")
# The fields of a score that are not part of its key; a tombstone has zeros there.
_FIELDS: Final = ("version", "at", "score", "model", "model_version", "contributions", "withheld")
_NOTHING: Final = {
    **dict.fromkeys(_KEY, ""),
    "version": 0,
    "at": 0,
    "score": 0.0,
    "model": "",
    "model_version": 0,
    "contributions": [],
    "withheld": False,
}
# The key of a record, a score's fields, its position on the topic, and whether it is a tombstone.
SCORE_ROWS: Final = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in _KEY),
        *(
            field.with_type(_TIME) if field.name == "at" else field
            for field in (SCORE.arrow.field(name) for name in _FIELDS)
        ),
        *PLACE,
    ]
)


def decode_scores(codec: Codec, partition: int, messages: Sequence[Message]) -> Decoded:
    """Decode records of a partition; equal records give equal rows.

    What is not a finite number counts as no score. A record with a key that is not
    `project/prediction/person` is a failure.

    Raises what the look-up of an unknown schema raises; the call can be repeated.
    """
    records = read_keyed(codec, messages, "project/prediction/person", _NOTHING)
    scores = records.values.take(records.places)
    gone = records.is_tombstone() | ~np.isfinite(scores.column("score").to_numpy())
    columns = {name: scores.column(name) for name in _FIELDS}
    columns["at"] = columns["at"].cast(pa.int64()).view(_TIME)
    columns |= records.key_columns(_KEY)
    columns |= place_columns(partition, [messages[row] for row in records.kept], gone.tolist())
    rows = [columns[name] for name in SCORE_ROWS.names]
    return Decoded(pa.RecordBatch.from_arrays(rows, schema=SCORE_ROWS), records.failures)
