"""`avila annotate`: mark a moment, such as a deploy."""

import json
from collections.abc import Callable
from typing import Any

import click

from schemas.settings import Settings
from services.cli.query import ask


@click.command("annotate")
@click.argument("text")
@click.option("--project", default="default", show_default=True)
@click.option("--at", help="When it happened: a time with a zone (default: now).")
@click.option("--link", help="An http:// or https:// address with more about it.")
@click.option("--id", "name", help="The id of the annotation (default: a new one).")
@click.option("--url", help="Address of the query service (default: on this machine).")
@click.option("--token", help="Query token (default: that of `avila up` on this machine).")
@click.option("--json", "as_json", is_flag=True, help="Print the annotation as JSON.")
@click.pass_obj
def annotate(
    settings: Callable[[], Settings],
    /,
    text: str,
    at: str | None,
    link: str | None,
    name: str | None,
    *,
    as_json: bool,
    **where: Any,
) -> None:
    """Mark a moment with TEXT, such as a deploy; charts show it.

    It is meant for the end of a deploy script: `avila annotate "checkout 2.4" --link $CI_URL`.
    """
    given = {"text": text, "at": at, "url": link, "id": name}
    body = {field: value for field, value in given.items() if value is not None}
    made = ask(settings(), "annotations", body, **where)
    if as_json:
        click.echo(json.dumps(made, ensure_ascii=False))
    else:
        click.echo(f"annotation {made['id']} at {made['at']}")
