"""`avila keys`, `avila tokens`, `avila projects`: who may send and who may read.

What a program wants (the key, the token) is all there is on standard output; remarks for people go
to standard error.
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

_RATE = click.option("--rate", type=click.IntRange(1), help="Events a second at most.")
_QUOTA = click.option("--quota", type=click.IntRange(1), help="Events a day (UTC) at most.")


@click.group()
def keys() -> None:
    """Write keys: public, they send events to one project and can do nothing else."""


@keys.command("create")
@click.option("--project", default="default", show_default=True)
@click.option("--name", default="", help="What it is for.")
@_RATE
@_QUOTA
@click.option("--origin", "origins", multiple=True, help="A web page's origin, such as https://a.b")
@click.option("--key", help="Take over a key that your SDKs use already, instead of a new one.")
@click.pass_obj
def create_key(
    settings: Read, /, project: str, rate: int | None, quota: int | None, **options: Any
) -> None:
    """Make a write key and print it.

    With origins, browsers may use it on those pages only. Limits are kept by each ingest process.
    """
    made = _do(
        settings,
        lambda desk: desk.create_write_key(
            project, events_per_s=rate, events_per_day=quota, **options
        ),
    )
    click.echo(made.id)


@keys.command("list")
@click.option("--project", help="Of this project only.")
@click.pass_obj
def list_keys(settings: Read, /, project: str | None) -> None:
    """Show the write keys."""

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
    """End a write key: within a second nothing sent with it is accepted."""
    revoked = _do(settings, lambda desk: desk.revoke_write_key(key))
    click.echo(f"write key {revoked.id} of project {revoked.project_id} is revoked", err=True)


@click.group()
def tokens() -> None:
    """Query tokens: secret, they read figures and change definitions."""


@tokens.command("create")
@click.option("--project", help="Of this project only; without it, of all projects.")
@click.option("--name", default="", help="What it is for.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(["read", "write"]),
    default=["read"],
    show_default=True,
    help="What it may do: see, or change too (give both).",
)
@click.option("--days", default=90, show_default=True, type=click.IntRange(1, MAX_TOKEN_DAYS))
@click.pass_obj
def create_token(settings: Read, /, project: str | None, **options: Any) -> None:
    """Make a query token and print it, this once."""
    text, made = _do(settings, lambda desk: desk.create_token(project or ALL_PROJECTS, **options))
    click.echo(text)
    click.echo(
        f"query token {made.id}, until {_day(made.expires_at)}: keep it, it is not shown again",
        err=True,
    )


@tokens.command("list")
@click.pass_obj
def list_tokens(settings: Read, /) -> None:
    """Show the query tokens by their ids; what they are is not known here."""

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
    """End a query token, named by its id or by itself."""
    revoked = _do(settings, lambda desk: desk.revoke_token(token))
    click.echo(f"query token {revoked.id} is revoked", err=True)


@click.group()
def projects() -> None:
    """Projects: there is one for each name that a key is made for."""


@projects.command("limit")
@click.argument("project")
@_RATE
@_QUOTA
@click.pass_obj
def limit_project(settings: Read, /, project: str, rate: int | None, quota: int | None) -> None:
    """Limit what all keys of a PROJECT may send together; what is not given has no limit."""
    made = _do(settings, lambda desk: desk.limit_project(project, rate, quota))
    click.echo(f"project {made.id}: {_limits(made)}", err=True)


@projects.command("timezone")
@click.argument("project")
@click.argument("zone")
@click.pass_obj
def set_timezone(settings: Read, /, project: str, zone: str) -> None:
    """Set the time ZONE (Europe/Lisbon) of a PROJECT.

    It is that of cohorts and metrics which name none when they are made from now on.
    """
    made = _do(settings, lambda desk: desk.set_timezone(project, zone))
    click.echo(f"project {made.id}: {made.timezone}", err=True)


@projects.command("list")
@click.pass_obj
def list_projects(settings: Read, /) -> None:
    """Show the projects that have keys or settings."""

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
    # Imported when it is used, as no other command of `avila` needs it.
    from services.keys.admin import at_desk  # noqa: PLC0415

    return at_desk(settings(), work)


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
