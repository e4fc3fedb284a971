"""`avila keys`, `avila tokens`, `avila projects`: who may send events and who may read results.

Standard output holds only what programs use (the key, the token, the table); messages for people go
to standard error.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar, get_args

import click

from schemas.keys import ALL_PROJECTS, MAX_TOKEN_DAYS, Project, QueryToken, Scope, WriteKey
from schemas.settings import Settings
from schemas.time.calendar import WeekStart

if TYPE_CHECKING:
    from services.keys.admin import KeyAdmin

T = TypeVar("T")
ReadSettings = Callable[[], Settings]

_RATE = click.option("--rate", type=click.IntRange(1), help="Maximum events per second.")
_QUOTA = click.option("--quota", type=click.IntRange(1), help="Maximum events per day (UTC).")


@click.group()
def keys() -> None:
    """Manage write keys: public keys that send events to one project and do nothing else."""


@keys.command("create")
@click.option("--project", default="default", show_default=True)
@click.option("--name", default="", help="A note on what the key is for.")
@_RATE
@_QUOTA
@click.option(
    "--origin",
    "origins",
    multiple=True,
    help="Accept the key from browsers only on pages of this origin (https://a.b). Repeatable.",
)
@click.option("--key", help="Use this key, which your SDKs already have, instead of a new one.")
@click.pass_obj
def create_key(
    settings: ReadSettings,
    /,
    project: str,
    rate: int | None,
    quota: int | None,
    name: str,
    origins: Sequence[str],
    key: str | None,
) -> None:
    """Create a write key and print it.

    Each ingest process enforces the rate and the quota on its own.
    """
    created = _run(
        settings,
        lambda admin: admin.create_write_key(
            project,
            name=name,
            events_per_s=rate,
            events_per_day=quota,
            origins=origins,
            key=key,
        ),
    )
    click.echo(created.id)


@keys.command("list")
@click.option("--project", help="List only the keys of this project.")
@click.pass_obj
def list_keys(settings: ReadSettings, /, project: str | None) -> None:
    """List the write keys."""

    async def find(admin: "KeyAdmin") -> list[WriteKey]:
        return sorted(admin.keys.write_keys.values(), key=lambda key: (key.project_id, key.id))

    _print_table(
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
            for key in _run(settings, find)
            if project in {None, key.project_id}
        ),
    )


@keys.command("revoke")
@click.argument("key")
@click.pass_obj
def revoke_key(settings: ReadSettings, /, key: str) -> None:
    """Revoke a write key: within a second its events are refused."""
    revoked = _run(settings, lambda admin: admin.revoke_write_key(key))
    click.echo(f"write key {revoked.id} of project {revoked.project_id} is revoked", err=True)


@click.group()
def tokens() -> None:
    """Manage query tokens: secrets that read results and change definitions."""


@tokens.command("create")
@click.option("--project", help="Limit the token to this project (default: all projects).")
@click.option("--name", default="", help="A note on what the token is for.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(["read", "write"]),
    default=["read"],
    show_default=True,
    help="`read` sees definitions and results, `write` changes definitions. Repeat it for both.",
)
@click.option(
    "--days",
    default=90,
    show_default=True,
    type=click.IntRange(1, MAX_TOKEN_DAYS),
    help="Days until the token expires.",
)
@click.pass_obj
def create_token(
    settings: ReadSettings, /, project: str | None, name: str, scopes: Sequence[Scope], days: int
) -> None:
    """Create a query token and print it, once."""
    text, created = _run(
        settings,
        lambda admin: admin.create_token(project or ALL_PROJECTS, scopes, days=days, name=name),
    )
    click.echo(text)
    click.echo(
        f"query token {created.id}, valid until {_day(created.expires_at)}: keep it, it is not "
        "shown again",
        err=True,
    )


@tokens.command("list")
@click.pass_obj
def list_tokens(settings: ReadSettings, /) -> None:
    """List the query tokens by id; their texts are not stored."""

    async def find(admin: "KeyAdmin") -> list[QueryToken]:
        return sorted(admin.keys.tokens.values(), key=lambda token: (token.project_id, token.id))

    _print_table(
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
            for token in _run(settings, find)
        ),
    )


@tokens.command("revoke")
@click.argument("token")
@click.pass_obj
def revoke_token(settings: ReadSettings, /, token: str) -> None:
    """Revoke a query token, given by its id or its text."""
    revoked = _run(settings, lambda admin: admin.revoke_token(token))
    click.echo(f"query token {revoked.id} is revoked", err=True)


@click.group()
def projects() -> None:
    """Manage projects. A project exists once a key is created for it."""


@projects.command("limit")
@click.argument("project")
@_RATE
@_QUOTA
@click.pass_obj
def limit_project(
    settings: ReadSettings, /, project: str, rate: int | None, quota: int | None
) -> None:
    """Limit what all keys of PROJECT may send together.

    An option that is not given removes that limit.
    """
    changed = _run(settings, lambda admin: admin.limit_project(project, rate, quota))
    click.echo(f"project {changed.id}: {_limits(changed)}", err=True)


@projects.command("timezone")
@click.argument("project")
@click.argument("zone")
@click.pass_obj
def set_timezone(settings: ReadSettings, /, project: str, zone: str) -> None:
    """Set the time ZONE (such as Europe/Lisbon) of PROJECT.

    Funnels, cohorts and metrics that are created or replaced from now on, and name no time zone of
    their own, count by its days.
    """
    changed = _run(settings, lambda admin: admin.set_timezone(project, zone))
    click.echo(f"project {changed.id}: {changed.timezone}", err=True)


@projects.command("week-start")
@click.argument("project")
@click.argument("day", type=click.Choice(get_args(WeekStart)))
@click.pass_obj
def set_week_start(settings: ReadSettings, /, project: str, day: WeekStart) -> None:
    """Set the DAY on which the weeks of PROJECT begin.

    It applies to funnels and cohorts that are created or replaced from now on, and name no
    `week_start` of their own.
    """
    changed = _run(settings, lambda admin: admin.set_week_start(project, day))
    click.echo(f"project {changed.id}: weeks begin on {changed.week_start}", err=True)


@projects.command("list")
@click.pass_obj
def list_projects(settings: ReadSettings, /) -> None:
    """List the projects that have keys or settings."""

    async def find(admin: "KeyAdmin") -> tuple[dict[str, Project], list[str]]:
        return admin.keys.projects, [key.project_id for key in admin.keys.write_keys.values()]

    configured, key_projects = _run(settings, find)
    unset = Project(id="", updated_at=0)
    rows = []
    for name in sorted(configured.keys() | set(key_projects)):
        project = configured.get(name, unset)
        count = str(key_projects.count(name))
        rows.append((name, count, _limits(project), project.timezone, project.week_start))
    _print_table(("PROJECT", "WRITE KEYS", "LIMITS", "TIME ZONE", "WEEK START"), rows)


def _run(settings: ReadSettings, work: "Callable[[KeyAdmin], Awaitable[T]]") -> T:
    # Imported here so that the other commands of `avila` start without it.
    from services.keys.admin import run_with_key_admin  # noqa: PLC0415
    from services.topics import require_broker  # noqa: PLC0415

    read = settings()
    require_broker(read.bootstrap)
    return run_with_key_admin(read, work)


def _limits(limited: WriteKey | Project) -> str:
    rate = f"{limited.events_per_s:,}/s" if limited.events_per_s else ""
    quota = f"{limited.events_per_day:,}/day" if limited.events_per_day else ""
    return " ".join(filter(None, (rate, quota))) or "-"


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1_000, UTC).date().isoformat()


def _print_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())
