"""Where a sink continues in a partition whose committed offset Kafka has forgotten.

Kafka forgets a group that is empty for a week, and administrators delete groups. Without an offset
every event would be written again. The sink itself knows what it has: at most one chunk of a
partition is under way at a time, so all records are written but for some among those of the newest
chunk, which are read and compared. What is missing is written, and the delivery goes on after it.
"""

import time
from collections.abc import Mapping
from contextlib import closing
from typing import Final

import pyarrow as pa
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.avro.codec import Codec
from schemas.cluster import client_config
from schemas.errors import Misconfigured, Unavailable
from sinks.base import Batch, ResumableSink, Row, boot_clock_s
from sinks.chunks import checksum, offsets
from sinks.consumer import SourceSettings
from sinks.partitions import Assigned, Begin
from sinks.rows import decode

log = structlog.get_logger(__name__)

_READ_TIMEOUT_S: Final = 120.0
_POLL_S: Final = 0.5
_BATCH: Final = 10_000


def resuming(settings: SourceSettings, sink: ResumableSink, codec: Codec) -> Begin:
    """Return what continues at the committed offset or, if it is forgotten, after what `sink` has.

    It blocks, and raises `Unavailable` if the sink or Kafka does not answer, and `Misconfigured` if
    the sink has other events than the topic and the settings do not say where to begin.
    """

    def resume(assigned: Assigned) -> int:
        partition, committed, low, high = assigned
        if committed >= 0:
            return committed
        with closing(sink.reopened()) as own:
            stored = own.stored(partition, settings.chunk_rows + 1)
            if not stored:
                return 0
            newest = max(stored)
            first = max(low, min(stored) + 1 if len(stored) > settings.chunk_rows else 0)
            found = _read(settings, partition, first, newest) if first <= newest < high else []
            rows = decode(codec, partition, found).rows
            if not _agree({at: row for at, row in stored.items() if at >= first}, rows):
                return _undecided(settings, partition, high)
            _complete(settings, own, rows, found, stored)
            own.derive(partition, min(stored), newest)
        log.warning("continuing after what the sink has", partition=partition, offset=newest + 1)
        return newest + 1

    return resume


def _complete(
    settings: SourceSettings,
    sink: ResumableSink,
    rows: pa.RecordBatch,
    found: list[Message],
    stored: Mapping[int, Row],
) -> None:
    """Write the rows that the sink lacks."""
    missing = [at not in stored for at in rows.column("_offset").to_pylist()]
    lacking = rows.filter(pa.array(missing, pa.bool_()))
    if not lacking.num_rows:
        return
    at: list[int] = lacking.column("_offset").to_numpy().tolist()
    values = [message.value() for message in found if message.offset() not in stored]
    partition = lacking.column("_partition")[0].as_py()
    sink.write(
        Batch(
            settings.topic,
            partition,
            at[0],
            at[-1],
            checksum([one for one in offsets(found) if one not in stored], values),
            lacking,
            boot_clock_s(),
            again=True,
        )
    )
    log.warning("rows of an unfinished chunk written", partition=partition, rows=len(at))


def _agree(stored: Mapping[int, Row], rows: pa.RecordBatch) -> bool:
    """Return whether the topic has each of the rows that the sink has."""
    columns = [
        rows.column(name).to_pylist() for name in ("_offset", "project_id", "distinct_id", "event")
    ]
    read = {at: Row(*row) for at, *row in zip(*columns, strict=True)}
    return bool(stored) and all(read.get(at) == row for at, row in stored.items())


def _undecided(settings: SourceSettings, partition: int, high: int) -> int:
    match settings.missing_offsets:
        case "beginning":
            return 0
        case "end":
            return high
        case _:
            raise Misconfigured(
                f"the group {settings.group} has no offset for {settings.topic}/{partition}, and "
                "the store has other events than this topic: it belongs to another Kafka. Set "
                "AVILA_CLICKHOUSE_DATABASE to a new database, or AVILA_MISSING_OFFSETS to "
                "`beginning` (all events are written beside those) or `end`"
            )


def _read(settings: SourceSettings, partition: int, first: int, last: int) -> list[Message]:
    """Return the committed records from offset `first` to `last`, outside of the group."""
    own = {
        "group.id": settings.group,  # required, but nothing is committed
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "log_level": 0,
    }
    consumer = Consumer(client_config(settings.cluster, own))
    found: list[Message] = []
    deadline = time.monotonic() + _READ_TIMEOUT_S
    try:
        consumer.assign([TopicPartition(settings.topic, partition, first)])
        while time.monotonic() < deadline:
            message = consumer.poll(_POLL_S)
            for one in [message, *consumer.consume(_BATCH, 0)] if message is not None else ():
                if (error := one.error()) is None:
                    found.append(one)
                elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 (its public name)
                    raise Unavailable(f"{settings.topic}/{partition} cannot be read: {error.str()}")
            if consumer.position([TopicPartition(settings.topic, partition)])[0].offset > last:
                return [one for one in found if (one.offset() or 0) <= last]
    except KafkaException as error:
        raise Unavailable(f"{settings.topic}/{partition} cannot be read: {error}") from error
    finally:
        consumer.close()
    raise Unavailable(f"{settings.topic}/{partition} was not read to {last} in time")
