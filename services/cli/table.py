"""Fetches a table from the query service into a file, or onto standard output."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Final, TypeVar
from urllib.parse import quote

import click

from schemas.errors import InvalidRequest, Unavailable
from schemas.settings import QUERY_PORT, Settings

MEDIA_TYPES: Final[Mapping[str, str]] = {
    "csv": "text/csv",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}
_BINARY: Final = ("parquet", "arrow")
_TIMEOUT_S: Final = 600.0
_OK: Final = 300

_C = TypeVar("_C", bound=Callable[..., Any])


def table_options(command: _C) -> _C:
    """Add the options that ask for a table instead of an answer to show."""
    for option in (
        click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Write the table into this file, which is there once it is whole.",
        ),
        click.option(
            "--format",
            "table_format",
            type=click.Choice([*MEDIA_TYPES]),
            help="Write a table; lists come to their end, whatever their limit.",
        ),
    ):
        command = option(command)
    return command


def read_table_format(table_format: str | None, output: Path | None) -> str | None:
    """Return the format of the table that options ask for, if any.

    Raises:
        InvalidRequest: there is a file without a format, or binary data would go to a terminal.
    """
    if table_format is None and output is not None:
        raise InvalidRequest(f"needs --format: one of {', '.join(MEDIA_TYPES)}", "--output")
    if table_format in _BINARY and output is None and sys.stdout.isatty():
        raise InvalidRequest(f"{table_format} is binary: write it to a file", "--output")
    return table_format


def fetch_table(
    settings: Settings,
    what: str,
    body: dict[str, Any],
    table_format: str,
    output: Path | None,
    *,
    project: str,
    url: str | None,
    token: str | None,
) -> None:
    """Write the table that the query service answers to what is posted to a path of a project.

    A file is written beside its place, and moved there once it is whole.

    Raises:
        AvilaError: what the service refuses, by the message that it gives.
        Unavailable: it does not answer, or ends the table before its end.
        InvalidRequest: the file cannot be written.
    """
    from services.keys.first import read_token  # noqa: PLC0415

    at = url or f"http://127.0.0.1:{settings.port(QUERY_PORT)}"
    path = f"{at.rstrip('/')}/api/projects/{quote(project, safe='')}/{what}"
    headers = {
        "authorization": f"Bearer {token or read_token(settings)}",
        "accept": MEDIA_TYPES[table_format],
    }
    if output is None:
        _fetch(path, body, headers, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            _fetch(path, body, headers, file)
        part.replace(output)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InvalidRequest(f"{output} cannot be written: {error.strerror}", "--output") from None
    finally:
        part.unlink(missing_ok=True)


def _fetch(path: str, body: dict[str, Any], headers: dict[str, str], to: IO[bytes]) -> None:
    import httpx  # noqa: PLC0415

    from services.cli.query import refusal  # noqa: PLC0415

    try:
        with httpx.stream("POST", path, json=body, headers=headers, timeout=_TIMEOUT_S) as answer:
            if answer.status_code >= _OK:
                answer.read()
                raise refusal(answer)
            for chunk in answer.iter_bytes():
                to.write(chunk)
    except httpx.RemoteProtocolError as error:
        raise Unavailable(f"the table is cut off: {error}") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable(f"the query service at {path} does not answer: {error}") from None
