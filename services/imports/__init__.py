"""Events from files onto the inbox: CSV, NDJSON, JSON and Parquet, and what vendors export.

A row that is no event is refused by itself, with its line. An event that the store has already is
not written again, so an import that ended early is simply done again.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from schemas.errors import Unavailable
from schemas.settings import Settings
from services.imports.existing import unique, without_existing
from services.imports.formats import Columns, Format, Reading
from services.imports.prepare import Prepared, prepare
from services.imports.produce import InboxWriter
from services.imports.rows import RefusedRow

__all__ = ["Columns", "Imported", "Reading", "RefusedRow", "import_events", "prepare"]


class Imported(NamedTuple):
    """What became of the rows of a file."""

    imported: int
    existing: int
    refused: list[RefusedRow]


def import_events(
    settings: Settings,
    file: Path,
    project: str,
    reading: Reading | Columns,
    *,
    name: Format = "columns",
    rate: int | None = None,
    quiet: bool = False,
    ask_store: bool = True,
    report: Callable[[Prepared], None] = lambda _: None,
) -> Imported:
    """Write a file's events to the inbox; return when the broker has all of them.

    `rate` is how many a second at most. Shows a progress bar, unless `quiet`. `report` is called
    before anything is written. Without `ask_store`, only what was written within the deduplication
    window is known to be there already.

    Raises:
        InvalidRequest: the file cannot be read, or lacks a column; names it.
        Unavailable: the store does not answer, or the broker did not take all events; importing
            again is safe, and goes on where this ended.
    """
    if isinstance(reading, Columns):
        reading = Reading(reading)
    prepared = prepare(settings, file, project, name, reading)
    report(prepared)
    if ask_store:
        try:
            rows = without_existing(settings, project, prepared.rows)
        except Unavailable as error:
            raise Unavailable(
                f"{error}; the store says which events are there already: wait for it, or import "
                "with `--without-store`. Nothing was written"
            ) from error
    else:
        rows = unique(prepared.rows)
    writer = InboxWriter(settings, rate)
    with _progress(quiet=quiet) as progress:
        task = progress.add_task(file.name, total=len(rows))
        try:
            writer.write(rows, lambda done: progress.update(task, completed=done))
        except Unavailable as error:
            raise Unavailable(f"{error}; {_how_far(writer, len(rows), file)}") from error
        except KeyboardInterrupt:
            progress.console.print(_how_far(writer, len(rows), file))
            raise
    return Imported(len(rows), len(prepared.rows) - len(rows), prepared.refused)


def _how_far(writer: InboxWriter, total: int, file: Path) -> str:
    return (
        f"{writer.acknowledged} of {total} events are on the inbox: import {file} again to go on, "
        "as events that are there are not written again"
    )


def _progress(*, quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        disable=quiet,
    )
