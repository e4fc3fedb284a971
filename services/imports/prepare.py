"""Decide about every row of a file before anything is written: an event, or a refusal.

The rules are those of the doors, but for the age of an event, which is not bounded.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from schemas.definitions import is_id
from schemas.errors import InvalidRequest
from schemas.identity import identify
from schemas.settings import Settings
from schemas.time.plausible import EARLIEST_MS
from services.imports.formats import Format, Reading, required_columns, translator
from services.imports.rows import Fields, RefusedRow, open_rows
from services.ingest.check import check, read_arrival
from services.ingest.events import Event, Row
from services.ingest.limits import Limits

_DAY_MS: Final = 86_400_000


class Prepared(NamedTuple):
    """The events of a file in the order of their times, and what is not imported as it is.

    `remarks` say what was changed, and how often.
    """

    rows: list[Row]
    refused: list[RefusedRow]
    remarks: Counter[str]


def prepare(
    settings: Settings, file: Path, project: str, name: Format, reading: Reading
) -> Prepared:
    """Read a file; all its events are in memory.

    Raises:
        InvalidRequest: the file cannot be read, or lacks a column; names it.
    """
    if not is_id(project):
        raise InvalidRequest("accepted are 1 to 64 letters, digits and `._-`", "project")
    columns, rows = open_rows(file)
    required = required_columns(name, reading)
    for column in required if columns is not None else ():
        if column not in (columns or ()):
            raise InvalidRequest(
                f"{file} has no column {column!r}; it has {', '.join(columns or ()) or 'none'}",
                column,
            )
    now = time.time_ns() // 1_000_000
    limits = Limits(
        max_event_bytes=settings.max_event_bytes,
        max_future_skew_s=settings.max_future_skew_s,
        max_event_age_days=(now - EARLIEST_MS) // _DAY_MS,
    )
    arrival = read_arrival(project, None, now, text_ids=True)
    translate = translator(name, reading)
    names = _Names(f"{project}/{name}/{'/'.join(reading.columns) if name == 'columns' else ''}")
    accepted: list[Row] = []
    refused: list[RefusedRow] = []
    remarks: Counter[str] = Counter()
    for row in rows:
        if isinstance(row, RefusedRow):
            refused.append(row)
            continue
        try:
            event = _own(translate(row.fields))
            if not event.event_id:
                event.event_id = names.name(row.fields)
            made = check(event, arrival, "", limits)
        except InvalidRequest as error:
            refused.append(RefusedRow(row.place, str(error)))
        else:
            if made.warning:
                remarks[made.warning] += 1
            accepted.append(made)
    # As they happened, so that no event is late only because of its place in the file.
    accepted.sort(key=_time_of)
    return Prepared(accepted, refused, remarks)


def _time_of(row: Row) -> int:
    return row.timestamp


def _own(event: Event) -> Event:
    """Return an event without what concerned its first transport; it must have a time."""
    if event.timestamp is None:
        raise InvalidRequest("is missing; a time is required", "timestamp")
    return msgspec.structs.replace(event, sent_at=None, project_id=None)


class _Names:
    """Names rows by their content and their number among equal rows.

    So a repeated file has the same events, and a mended one differs only in the rows that differ.
    `scope` is what else decides about the events of a row.
    """

    def __init__(self, scope: str) -> None:
        self._scope = scope.encode()
        self._equal: Counter[bytes] = Counter()

    def name(self, fields: Fields) -> str:
        """Return the id of a row's event."""
        digest = hashlib.blake2b(self._scope, digest_size=16)
        for name in sorted(fields):
            for part in (name.encode(), fields[name]):
                digest.update(len(part).to_bytes(4, "big") + part)
        content = digest.digest()
        self._equal[content] += 1
        event_id, _ = identify(f"import/{content.hex()}/{self._equal[content]}", "")
        return event_id


def rows_of(prepared: Prepared, size: int) -> Iterator[list[Row]]:
    """Return the events in parts of at most `size`."""
    for begin in range(0, len(prepared.rows), size):
        yield prepared.rows[begin : begin + size]
