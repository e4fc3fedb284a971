"""Decodes the records of the inbox: Avro in Confluent wire format, or CloudEvents in JSON."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipelines.columnar.binary_column import BinaryColumn
from pipelines.columnar.jit import Int32s, Int64s
from pipelines.kafka.avro_values import ValueDecoder
from pipelines.kafka.records import Records
from pipelines.tracker import cloudevents
from pipelines.tracker.rejections import Rejection
from schemas.errors import InvalidRecord


class Decoded(NamedTuple):
    """The records of a batch that are events, in order, and why the others are not.

    `rows` are the events' rows in the batch, ascending.
    """

    events: pa.RecordBatch
    rows: Int32s
    rejections: list[Rejection]


def decode(decoder: ValueDecoder, records: Records) -> Decoded:
    """Decode a batch. A record that cannot be decoded is rejected and costs no other one."""
    values = records.value_column
    foreign = [
        row
        for row in _not_avro(values).tolist()
        if cloudevents.is_cloud_event(values.at(row), records.headers(row))
    ]
    if not foreign:
        avro = decoder.decode(values)
        return Decoded(avro.batch, avro.rows, [Rejection(*failure) for failure in avro.failures])
    rejections, foreign_rows, cloud_events = [], [], []
    for row in foreign:
        try:
            events, fault = cloudevents.parse(
                values.at(row), records.headers(row), int(records.timestamps[row])
            )
        except InvalidRecord as error:
            rejections.append(Rejection(row, error.reason, error.detail))
        else:
            cloud_events += events
            foreign_rows += [row] * len(events)
            if fault is not None:
                rejections.append(Rejection(row, fault.reason, fault.detail))
    others = np.delete(np.arange(len(records), dtype=np.int32), foreign)
    avro = decoder.decode(values, others)
    rejections += [Rejection(*failure) for failure in avro.failures]
    table = pa.Table.from_batches(
        [avro.batch, pa.RecordBatch.from_pylist(cloud_events, schema=decoder.arrow)]
    ).combine_chunks()
    rows = np.concatenate([avro.rows, np.array(foreign_rows, np.int32)])
    order = np.argsort(rows, kind="stable")  # the events of one record stay in order
    (batch,) = table.take(order).to_batches() or [avro.batch]
    return Decoded(batch, rows[order], rejections)


def _not_avro(values: BinaryColumn) -> Int64s:
    """Return the rows of values that do not begin with byte 0: missing and empty ones as well."""
    begins, ends = values.starts[:-1], values.starts[1:]
    framed = ends > begins
    framed[framed] = values.data[begins[framed]] == 0
    return np.flatnonzero(~framed)
