"""`avila store`: the embedded store, and its backups."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from schemas.errors import Conflict, InvalidRequest, Misconfigured, Unavailable
from schemas.settings import STORE_PORT, Settings

if TYPE_CHECKING:
    from services.store.engine import Engine

_TIMEOUT_S: Final = 3_600.0
_OK: Final = 200
_DIRECTORY = click.Path(path_type=Path, resolve_path=True, file_okay=False)


@click.group("store", invoke_without_command=True)
@click.pass_context
def store(context: click.Context) -> None:
    """Run the embedded ClickHouse store, or back it up.

    `avila store` alone runs the store.
    """
    if context.invoked_subcommand is None:
        from services.store import run_store  # noqa: PLC0415

        run_store(context.obj())


@store.command()
@click.argument("directory", type=_DIRECTORY)
@click.pass_obj
def backup(settings: Callable[[], Settings], directory: Path) -> None:
    """Copy the store's tables into DIRECTORY, which must be new.

    The store may run meanwhile, and take events.
    """
    from services.store.backups import back_up  # noqa: PLC0415

    read = _embedded(settings())
    engine = _engine(read)
    if engine is None:
        rows = _ask_to_back_up(read, directory)
    else:
        rows = _with(engine, back_up, directory, read.clickhouse_database)
    click.echo(f"{rows} rows backed up into {directory}")


@store.command()
@click.argument("directory", type=_DIRECTORY)
@click.pass_obj
def restore(settings: Callable[[], Settings], directory: Path) -> None:
    """Create the store's tables from the backup in DIRECTORY.

    The store must be stopped, and have no rows. The sink then goes on after what the backup has.
    """
    from services.data_directory import prepare_data_dir  # noqa: PLC0415
    from services.store.backups import restore as restore_from  # noqa: PLC0415
    from sinks.follow_store import follow_file  # noqa: PLC0415

    read = _embedded(settings())
    prepare_data_dir(read.data_dir)
    engine = _engine(read)
    if engine is None:
        raise Conflict("the store runs: stop it and the sink, and restore then")
    follow_file(read).touch(mode=0o600)
    try:
        rows = _with(engine, restore_from, directory, read.clickhouse_database)
    except (Conflict, InvalidRequest):  # nothing has changed
        follow_file(read).unlink()
        raise
    click.echo(f"{rows} rows restored from {directory}; the sink goes on after them")


def _embedded(settings: Settings) -> Settings:
    if settings.clickhouse_dsn:
        raise Misconfigured(
            "AVILA_CLICKHOUSE_DSN names a server, which has its own BACKUP and RESTORE; this "
            "command is for the embedded store"
        )
    return settings


def _engine(settings: Settings) -> "Engine | None":
    """Return the engine of the store; None if the store runs."""
    from services.store.backups import open_engine  # noqa: PLC0415

    return open_engine(settings)


def _with(
    engine: "Engine", work: "Callable[[Engine, Path, str], int]", directory: Path, database: str
) -> int:
    try:
        return work(engine, directory, database)
    finally:
        asyncio.run(engine.close())


def _ask_to_back_up(settings: Settings, directory: Path) -> int:
    """Return what the running store answers.

    Raises:
        InvalidRequest: the store refuses it; has the reason.
        Unavailable: the store does not answer.
    """
    import httpx  # noqa: PLC0415

    from sinks.store_password import store_password  # noqa: PLC0415

    host = settings.local_host
    at = f"http://{f'[{host}]' if ':' in host else host}:{settings.port(STORE_PORT)}"
    try:
        answer = httpx.post(
            f"{at}/backup",
            params={"directory": str(directory), "database": settings.clickhouse_database},
            auth=(settings.clickhouse_user, store_password(settings)),
            timeout=_TIMEOUT_S,
        )
    except httpx.HTTPError as error:
        raise Unavailable(f"the store at {at} does not answer: {error}") from None
    if answer.status_code != _OK:
        raise InvalidRequest(answer.text.strip())
    return int(answer.text)
