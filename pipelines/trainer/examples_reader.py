"""Reads examples from the records of a topic; what is not one is counted and left out."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import structlog
from prometheus_client import Counter

from pipelines.kafka.records import Records
from schemas.avro import files
from schemas.avro.codec import Codec
from schemas.errors import InvalidRecord
from schemas.examples.codec import from_record
from schemas.examples.columns import Examples
from schemas.registry.client import SchemaRegistry

log = structlog.get_logger(__name__)

SKIPPED: Final = Counter(
    "avila_worker_skipped_examples",
    "Records of examples that models did not learn from, because they are not valid.",
)


class Logged(NamedTuple):
    """Examples, and the offset of their record."""

    offset: int
    examples: Examples


class ExamplesReader:
    """Decodes records of `avila.examples`."""

    def __init__(self, registry: SchemaRegistry) -> None:
        self._codec = Codec(files.load("example"), registry.find, shipped=files.history("example"))

    def read(self, records: Records) -> Iterator[Logged]:
        """Yield the examples of a batch, in order. May block when it meets a new schema."""
        decoded = self._codec.decode(records.values)
        offsets = records.offsets
        for failure in decoded.failures:
            skip(int(offsets[failure.row]), failure.detail)
        for row, record in zip(decoded.rows.tolist(), decoded.batch.to_pylist(), strict=True):
            try:
                yield Logged(int(offsets[row]), from_record(record))
            except InvalidRecord as error:
                skip(int(offsets[row]), error.detail)


def skip(offset: int, reason: str) -> None:
    """Count and log a record that is left out."""
    SKIPPED.inc()
    log.error("examples skipped", offset=offset, reason=reason)
