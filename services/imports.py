"""Events from files: CSV, NDJSON and Parquet, plain or gzipped, onto the inbox.

An event is named after the file's content and its own place in it, so that importing a file twice
counts its events once.
"""

import gzip
import hashlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, cast

import msgspec
import pyarrow as pa
from confluent_kafka import KafkaError, Message, Producer
from pyarrow import csv, json, parquet
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from schemas.avro import files
from schemas.avro.codec import Encoder
from schemas.cluster import client_config
from schemas.errors import InvalidRequest, Unavailable
from schemas.identity import identify
from schemas.registry.client import open_registry
from schemas.registry.subjects import value_subject
from schemas.settings import Settings

_FLUSH_TIMEOUT_S: Final = 60.0
_ROW: Final = "\0row"  # no file has a column of this name
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Columns(NamedTuple):
    """Which columns of a file say what; the others become properties."""

    event: str = "event"
    person: str = "distinct_id"
    time: str = "timestamp"
    session: str = "session_id"


def import_events(
    settings: Settings,
    file: Path,
    project: str,
    columns: Columns,
    *,
    rate: int | None = None,
    quiet: bool = False,
) -> int:
    """Write a file's events to the inbox; returns how many, when the broker has all of them.

    `rate` is how many a second at most. Shows a progress bar, unless `quiet`.

    Raises:
        InvalidRequest: the file cannot be read, or lacks a column; names it.
        Unavailable: the broker did not take all of them; importing again is safe.
    """
    table = read_table(file)
    for name in (columns.event, columns.person, columns.time):
        if name not in table.column_names:
            raise InvalidRequest(
                f"{file} has no column {name!r}; it has {', '.join(table.column_names)}", name
            )
    # In order of time: only those of persons with newer events come too late to count at once.
    # An event keeps the number of its row, which is part of its name.
    table = table.append_column(_ROW, pa.array(range(table.num_rows), pa.int64()))
    table = table.sort_by([(columns.time, "ascending"), (_ROW, "ascending")])
    topic, schema = settings.topics.inbox.name, files.load("event")
    with closing(open_registry(settings)) as registry:
        encoder = Encoder(schema, registry.register(value_subject(topic), schema))
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error)

    producer = Producer(
        client_config(
            settings.cluster,
            {
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                "linger.ms": 20,
                "on_delivery": delivered,
            },
        )
    )
    digest = _digest(file)
    with _progress(quiet=quiet) as progress:
        task = progress.add_task(file.name, total=table.num_rows)
        started = time.monotonic()
        done = 0
        for batch in table.to_batches(1_000 if rate is None else max(1, min(1_000, rate // 10))):
            events = list(_events(batch, digest, project, columns))
            values = encoder.encode(pa.RecordBatch.from_pylist(events, schema=encoder.arrow))
            for event, value in zip(events, values, strict=True):
                key = f"{project}:{event['distinct_id']}".encode()
                while True:
                    try:
                        producer.produce(topic, value, key)
                        break
                    except BufferError:
                        producer.poll(0.1)
            done += len(events)
            progress.update(task, completed=done)
            if rate is not None:
                producer.poll(max(0.0, started + done / rate - time.monotonic()))
        if producer.flush(_FLUSH_TIMEOUT_S) or failures:
            why = failures[0].str() if failures else "it does not answer"
            raise Unavailable(f"the broker did not take all events ({why}); import {file} again")
    return done


def read_table(file: Path) -> pa.Table:
    """Read a whole file, its format being told by its name.

    Raises:
        InvalidRequest: the name tells no format, or the content is of another.
    """
    name = file.name.removesuffix(".gz")
    try:
        with _open(file) as source:
            if name.endswith(".csv"):
                return csv.read_csv(source)
            if name.endswith((".ndjson", ".jsonl")):
                return json.read_json(source)
            if name.endswith(".parquet"):
                return parquet.read_table(source)
    except (pa.ArrowInvalid, OSError) as error:
        raise InvalidRequest(f"{file} cannot be read: {error}") from error
    raise InvalidRequest(f"{file}: accepted are .csv, .ndjson, .jsonl and .parquet, or .gz of them")


def _open(file: Path) -> AbstractContextManager[BinaryIO]:
    opened = gzip.open(file) if file.suffix == ".gz" else file.open("rb")  # noqa: SIM115
    return cast(AbstractContextManager[BinaryIO], opened)


def _digest(file: Path) -> str:
    with file.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()[:32]


def _events(
    batch: pa.RecordBatch, digest: str, project: str, columns: Columns
) -> Iterator[dict[str, Any]]:
    """The events of some rows."""
    received_at = time.time_ns() // 1_000_000
    for row in batch.to_pylist():
        number = row.pop(_ROW)
        session = row.pop(columns.session, None)
        name, person, at = (row.pop(column) for column in columns[:3])
        event_id, _ = identify(f"{digest}/{number}", project)
        yield {
            "event_id": event_id,
            "project_id": project,
            "distinct_id": str(person),
            "person_id": "",
            "anonymous_id": None,
            "session_id": None if session is None else str(session),
            "event": str(name),
            "timestamp": _milliseconds(at),
            "sent_at": None,
            "received_at": received_at,
            "properties": msgspec.json.encode(row).decode(),
            "context": "{}",
        }


def _milliseconds(at: Any) -> int:
    """A time as milliseconds since 1970; times without a zone are taken to be UTC."""
    if isinstance(at, str):
        try:
            at = datetime.fromisoformat(at)
        except ValueError:
            raise InvalidRequest(f"{at!r} is not a time; accepted is ISO-8601") from None
    if isinstance(at, datetime):
        since = (at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH
        return since.days * 86_400_000 + since.seconds * 1_000 + since.microseconds // 1_000
    if isinstance(at, int | float):
        return int(at)
    raise InvalidRequest(f"{at!r} is not a time; accepted are ISO-8601 and milliseconds since 1970")


def _progress(*, quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        disable=quiet,
    )
