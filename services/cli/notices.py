"""`avila notices`: send messages of subscriptions once more, or one to try them."""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

import click

from schemas.settings import Settings
from services.cli.query import ask

_WHERE: Final = (
    click.option("--project", default="default", show_default=True),
    click.option("--url", help="Address of the query service (default: on this machine)."),
    click.option("--token", help="Query token (default: that of `avila up` on this machine)."),
)


def _located(command: click.Command) -> click.Command:
    for option in reversed(_WHERE):
        command = option(command)
    return command


@click.group("notices")
def notices() -> None:
    """Send messages of subscriptions (webhooks, Slack, e-mail, topics) once more, or try them."""


@_located
@notices.command("replay")
@click.argument("subscription")
@click.option("--all", "all_", is_flag=True, help="Also those that were delivered, of seven days.")
@click.option("--since", help="Only messages that were queued from this time on.")
@click.option("--until", help="Only messages that were queued before this time.")
@click.option("--id", "name", help="Only the message with this webhook-id.")
@click.pass_obj
def replay(
    settings: Callable[[], Settings],
    /,
    subscription: str,
    since: str | None,
    until: str | None,
    name: str | None,
    *,
    all_: bool,
    **where: Any,
) -> None:
    """Send messages of SUBSCRIPTION again, under their ids: by default those that nobody took."""
    given = {"all": all_ or None, "since": since, "until": until, "id": name}
    body = {field: value for field, value in given.items() if value is not None}
    ask(settings(), f"subscriptions/{quote(subscription, safe='')}/replay", body, **where)
    click.echo(f"replay of {subscription} is queued")


@_located
@notices.command("test")
@click.argument("subscription")
@click.pass_obj
def test(settings: Callable[[], Settings], /, subscription: str, **where: Any) -> None:
    """Send a message of the type `test` to SUBSCRIPTION."""
    path = f"subscriptions/{quote(subscription, safe='')}/test"
    made = ask(settings(), path, {}, **where)
    click.echo(f"message {made['id']} is queued")
