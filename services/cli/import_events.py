"""`avila import`: events from files."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from schemas.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemas.settings import Settings
    from services.imports.prepare import Prepared

_MAX_SHOWN: Final = 20
_VALUE_TYPES: Final = ("text", "number", "boolean", "json")
_TIME_UNITS: Final = ("milliseconds", "seconds", "microseconds", "nanoseconds")
_FORMATS: Final = ("columns", "native", "posthog", "mixpanel", "amplitude", "segment")
# The options that only the format `columns` has.
_OF_COLUMNS: Final = ("event", "person", "time", "session", "id", "types", "time_unit")


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--project", default="default", show_default=True, help="Project of the events.")
@click.option(
    "--format",
    "name",
    type=click.Choice(_FORMATS),
    default="columns",
    show_default=True,
    help="`columns`: the options below name them. `native`: events as REST takes them. Else: what "
    "that vendor exports.",
)
@click.option("--event", default="event", show_default=True, help="Column with the event's name.")
@click.option(
    "--person", default="distinct_id", show_default=True, help="Column with the person's id."
)
@click.option("--time", default="timestamp", show_default=True, help="Column with the timestamp.")
@click.option(
    "--session", default="session_id", show_default=True, help="Column with the session's id."
)
@click.option("--id", default="", help="Column with the event's id; else its content names it.")
@click.option(
    "--type",
    "types",
    multiple=True,
    metavar="COLUMN:TYPE",
    help=f"Type of a column: {', '.join(_VALUE_TYPES)}. Without one, values stay as they are "
    "written: cells of CSV are text.",
)
@click.option(
    "--time-unit",
    type=click.Choice(_TIME_UNITS),
    default="milliseconds",
    show_default=True,
    help="Unit of times that are numbers; others are ISO 8601, in UTC if they name no zone.",
)
@click.option("--rate", type=click.IntRange(1), help="Maximum events per second.")
@click.option("--dry-run", is_flag=True, help="Show what would be imported, and write nothing.")
@click.option(
    "--without-store",
    is_flag=True,
    help="Do not ask the store which events it has: those of earlier than the deduplication window "
    "count again.",
)
@click.pass_context
def import_file(context: click.Context, /, file: Path, **options: Any) -> None:
    """Import events from FILE: CSV, NDJSON, JSON or Parquet, also gzipped (.gz) or in a .zip.

    Every other column becomes a property. Importing a file again adds only the events that are not
    there. Rows that are no events are named and left out; the exit code is 1 then.
    """
    settings: Callable[[], Settings] = context.obj
    from services.imports import import_events, prepare  # noqa: PLC0415
    from services.imports.formats import Columns, Reading  # noqa: PLC0415
    from services.topics import require_broker  # noqa: PLC0415

    name = options["name"]
    defaults = {param.name: param.default for param in import_file.params}
    for option in _OF_COLUMNS if name != "columns" else ():
        if options[option] != (() if option == "types" else defaults[option]):
            flag = "--type" if option == "types" else f"--{option.replace('_', '-')}"
            raise InvalidRequest(f"{flag} is for files of columns, and not for --format {name}")
    reading = Reading(
        Columns(*(options[column] for column in Columns._fields)),
        _read_types(options["types"]),
        options["time_unit"],
        options["id"],
    )
    read = settings()
    if options["dry_run"]:
        prepared = prepare(read, file, options["project"], name, reading)
        _show(prepared)
        _describe(prepared, file)
        context.exit(1 if prepared.refused else 0)
    require_broker(read.bootstrap)
    done = import_events(
        read,
        file,
        options["project"],
        reading,
        name=name,
        rate=options["rate"],
        ask_store=not options["without_store"],
        report=_show,
    )
    parts = [f"{done.imported} events imported from {file}"]
    if done.existing:
        parts.append(f"{done.existing} were there already")
    if done.refused:
        mend = "mend them and import the file again, which adds only them"
        parts.append(f"{len(done.refused)} rows refused: {mend}")
    click.echo("; ".join(parts))
    context.exit(1 if done.refused else 0)


def _read_types(given: tuple[str, ...]) -> dict[str, Any]:
    types = {}
    for text in given:
        column, _, kind = text.rpartition(":")
        if not column or kind not in _VALUE_TYPES:
            raise InvalidRequest(
                f"--type {text}: accepted is COLUMN:TYPE, where TYPE is one of "
                f"{', '.join(_VALUE_TYPES)}"
            )
        types[column] = kind
    return types


def _show(prepared: "Prepared") -> None:
    """Show on standard error what is refused or changed."""
    for place, reason in prepared.refused[:_MAX_SHOWN]:
        click.echo(f"{place}: {reason}", err=True)
    if len(prepared.refused) > _MAX_SHOWN:
        click.echo(f"… and {len(prepared.refused) - _MAX_SHOWN} rows more", err=True)
    for remark, count in prepared.remarks.most_common(_MAX_SHOWN):
        click.echo(f"{count} events: {remark}", err=True)


def _describe(prepared: "Prepared", file: Path) -> None:
    from services.imports.dry_run import describe  # noqa: PLC0415
    from services.imports.existing import unique  # noqa: PLC0415

    for line in describe(prepared.rows):
        click.echo(line)
    count = len(unique(prepared.rows))
    click.echo(
        f"{count} events would be imported from {file}, as far as they are not there already; "
        f"{len(prepared.refused)} rows would be refused. Nothing was written."
    )
