"""Decodes the records of the inbox: Avro in Confluent wire format, or CloudEvents in JSON."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipelines.columnar.jit import Int32s
from pipelines.kafka.records import Records
from pipelines.tracker import cloudevents
from pipelines.tracker.rejections import Rejection
from schemas.avro.codec import Codec
from schemas.errors import InvalidRecord


class Decoded(NamedTuple):
    """The records of a batch that are events, in order, and why the others are not.

    `rows` are the events' rows in the batch, ascending.
    """

    events: pa.RecordBatch
    rows: Int32s
    rejections: list[Rejection]


def decode(codec: Codec, records: Records) -> Decoded:
    """Decode a batch. A record that cannot be decoded is rejected and costs no other one."""
    values = records.values
    foreign = [
        row
        for row, value in enumerate(values)
        if (value is None or value[:1] != b"\0")
        and cloudevents.is_cloud_event(value, records.headers(row))
    ]
    if not foreign:
        avro = codec.decode(values)
        return Decoded(avro.batch, avro.rows, [Rejection(*failure) for failure in avro.failures])
    rejections, foreign_rows, cloud_events = [], [], []
    for row in foreign:
        try:
            events, fault = cloudevents.parse(
                values[row], records.headers(row), int(records.timestamps[row])
            )
        except InvalidRecord as error:
            rejections.append(Rejection(row, error.reason, error.detail))
        else:
            cloud_events += events
            foreign_rows += [row] * len(events)
            if fault is not None:
                rejections.append(Rejection(row, fault.reason, fault.detail))
    others = sorted(set(range(len(values))) - set(foreign))
    avro = codec.decode([values[row] for row in others])
    rejections += [Rejection(others[row], *why) for row, *why in avro.failures]
    table = pa.Table.from_batches(
        [avro.batch, pa.RecordBatch.from_pylist(cloud_events, schema=codec.arrow)]
    ).combine_chunks()
    rows = np.array([*(others[row] for row in avro.rows), *foreign_rows], np.int32)
    order = np.argsort(rows, kind="stable")  # the events of one record stay in order
    (batch,) = table.take(order).to_batches() or [avro.batch]
    return Decoded(batch, rows[order], rejections)
