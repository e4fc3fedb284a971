"""`avila keys`, `avila tokens`, `avila projects`: who may send events and who may read results.

Standard output carries only what a program needs (the key, the token); messages for people go to
standard error.
"""

from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from schemas.keys import ALL_PROJECTS, MAX_TOKEN_DAYS, Project, QueryToken, WriteKey
from schemas.settings import Settings

if TYPE_CHECKING:
    from services.keys.admin import KeyAdmin

T = TypeVar("T")
Read = Callable[[], Settings]

_RATE = click.option("--rate", type=click.IntRange(1), help="Maximum events per second.")
_QUOTA = click.option("--quota", type=click.IntRange(1), help="Maximum events per day (UTC).")


@click.group()
def keys() -> None:
    """Manage write keys.

    A write key is public: it sends events to one project and can do nothing else.
    """


@keys.command("create")
@click.option(
    "--project", default="default", show_default=True, help="Project that the key sends to."
)
@click.option("--name", default="", help="What the key is for.")
@_RATE
@_QUOTA
@click.option(
    "--origin",
    "origins",
    multiple=True,
    help="Origin of the web pages that may use it, such as https://a.b; repeatable.",
)
@click.option("--key", help="Register this existing key instead of generating one.")
@click.pass_obj
def create_key(
    settings: Read, /, project: str, rate: int | None, quota: int | None, **options: Any
) -> None:
    """Create a write key and print it.

    With --origin, browsers may use the key only on those pages. Each ingest process enforces the
    limits on its own.
    """
    made = _do(
        settings,
        lambda desk: desk.create_write_key(
            project, events_per_s=rate, events_per_day=quota, **options
        ),
    )
    click.echo(made.id)


@keys.command("list")
@click.option("--project", help="List only this project's keys.")
@click.pass_obj
def list_keys(settings: Read, /, project: str | None) -> None:
    """List the write keys."""

    async def find(desk: "KeyAdmin") -> list[WriteKey]:
        return sorted(desk.keys.write_keys.values(), key=lambda key: (key.project_id, key.id))

    _show(
        ("PROJECT", "KEY", "CREATED", "LIMITS", "ORIGINS", "NAME"),
        (
            (
                key.project_id,
                key.id,
                _day(key.created_at),
                _limits(key),
                ",".join(key.origins) or "-",
                key.name or "-",
            )
            for key in _do(settings, find)
            if project in {None, key.project_id}
        ),
    )


@keys.command("revoke")
@click.argument("key")
@click.pass_obj
def revoke_key(settings: Read, /, key: str) -> None:
    """Revoke a write KEY: within a second its events are no longer accepted."""
    revoked = _do(settings, lambda desk: desk.revoke_write_key(key))
    click.echo(f"write key {revoked.id} of project {revoked.project_id} is revoked", err=True)


@click.group()
def tokens() -> None:
    """Manage query tokens.

    A query token is secret: it reads results and, with the scope `write`, changes definitions.
    """


@tokens.command("create")
@click.option("--project", help="Project that the token reads; all projects without it.")
@click.option("--name", default="", help="What the token is for.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(["read", "write"]),
    default=["read"],
    show_default=True,
    help="What the token may do: read results, change definitions; give the option twice for both.",
)
@click.option(
    "--days",
    default=90,
    show_default=True,
    type=click.IntRange(1, MAX_TOKEN_DAYS),
    help="Days until the token expires.",
)
@click.pass_obj
def create_token(settings: Read, /, project: str | None, **options: Any) -> None:
    """Create a query token and print it; it cannot be shown again."""
    text, made = _do(settings, lambda desk: desk.create_token(project or ALL_PROJECTS, **options))
    click.echo(text)
    click.echo(
        f"query token {made.id}, until {_day(made.expires_at)}: store it, it is not shown again",
        err=True,
    )


@tokens.command("list")
@click.pass_obj
def list_tokens(settings: Read, /) -> None:
    """List the query tokens by their ids; the tokens themselves are not stored."""

    async def find(desk: "KeyAdmin") -> list[QueryToken]:
        return sorted(desk.keys.tokens.values(), key=lambda token: (token.project_id, token.id))

    _show(
        ("PROJECT", "ID", "SCOPES", "CREATED", "EXPIRES", "NAME"),
        (
            (
                token.project_id,
                token.id,
                ",".join(token.scopes),
                _day(token.created_at),
                _day(token.expires_at),
                token.name or "-",
            )
            for token in _do(settings, find)
        ),
    )


@tokens.command("revoke")
@click.argument("token")
@click.pass_obj
def revoke_token(settings: Read, /, token: str) -> None:
    """Revoke a query TOKEN, given by its id or by its text."""
    revoked = _do(settings, lambda desk: desk.revoke_token(token))
    click.echo(f"query token {revoked.id} is revoked", err=True)


@click.group()
def projects() -> None:
    """Manage projects.

    A project exists once a key has been created for its name.
    """


@projects.command("limit")
@click.argument("project")
@_RATE
@_QUOTA
@click.pass_obj
def limit_project(settings: Read, /, project: str, rate: int | None, quota: int | None) -> None:
    """Limit what all keys of a PROJECT send together; without an option, no limit."""
    made = _do(settings, lambda desk: desk.limit_project(project, rate, quota))
    click.echo(f"project {made.id}: {_limits(made)}", err=True)


@projects.command("timezone")
@click.argument("project")
@click.argument("zone")
@click.pass_obj
def set_timezone(settings: Read, /, project: str, zone: str) -> None:
    """Set the default time ZONE (such as Europe/Lisbon) of a PROJECT.

    It applies to cohorts and metrics that are created from now on without a time zone.
    """
    made = _do(settings, lambda desk: desk.set_timezone(project, zone))
    click.echo(f"project {made.id}: {made.timezone}", err=True)


@projects.command("list")
@click.pass_obj
def list_projects(settings: Read, /) -> None:
    """List the projects that have keys or settings."""

    async def find(desk: "KeyAdmin") -> tuple[dict[str, Project], list[str]]:
        return desk.keys.projects, [key.project_id for key in desk.keys.write_keys.values()]

    set_up, of_keys = _do(settings, find)
    unset = Project(id="", updated_at=0)
    _show(
        ("PROJECT", "WRITE KEYS", "LIMITS", "TIME ZONE"),
        (
            (name, str(of_keys.count(name)), _limits(of := set_up.get(name, unset)), of.timezone)
            for name in sorted(set_up.keys() | set(of_keys))
        ),
    )


def _do(settings: Read, work: "Callable[[KeyAdmin], Awaitable[T]]") -> T:
    # Imported late: no other command of `avila` needs them.
    from services.keys.admin import at_desk  # noqa: PLC0415
    from services.topics import require_broker  # noqa: PLC0415

    read = settings()
    require_broker(read.bootstrap)
    return at_desk(read, work)


def _limits(of: WriteKey | Project) -> str:
    rate = f"{of.events_per_s:,}/s" if of.events_per_s else ""
    quota = f"{of.events_per_day:,}/day" if of.events_per_day else ""
    return " ".join(filter(None, (rate, quota))) or "-"


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1_000, UTC).date().isoformat()


def _show(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())
