"""`avila sql`: a SELECT over the views of a project, from the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from schemas.errors import InvalidRequest
from schemas.settings import Settings
from services.cli.table import fetch_table, read_table_format, table_options


@click.command("sql")
@click.argument("project")
@click.argument("sql")
@click.option(
    "--set",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="The value of a parameter such as {name:String}; JSON, or else text.",
)
@click.option("--url", help="Address of the query service (default: on this machine).")
@click.option("--token", help="Query token (default: that of `avila up` on this machine).")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@table_options
@click.pass_obj
def sql(
    settings: Callable[[], Settings],
    /,
    project: str,
    sql: str,
    parameters: tuple[str, ...],
    url: str | None,
    token: str | None,
    output: Path | None,
    table_format: str | None,
    *,
    as_json: bool,
) -> None:
    """Run SQL, a SELECT in ClickHouse's dialect, over the events and persons of PROJECT."""
    from services.cli.query import ask  # noqa: PLC0415
    from services.cli.query_report import table  # noqa: PLC0415

    body = {"sql": sql, "parameters": dict(map(_read_parameter, parameters))}
    where: dict[str, Any] = {"project": project, "url": url, "token": token}
    table_format = read_table_format(table_format, output)
    if table_format is not None:
        fetch_table(settings(), "sql", body, table_format, output, **where)
        return
    answer = ask(settings(), "sql", body, **where)
    if as_json:
        click.echo(json.dumps(answer, ensure_ascii=False))
        return
    head = [column["name"] for column in answer["columns"]]
    rows = [[_cell(value) for value in row] for row in answer["rows"]]
    for line in table(head, rows):
        click.echo(line)


def _read_parameter(text: str) -> tuple[str, Any]:
    name, found, value = text.partition("=")
    if not found or not name:
        raise InvalidRequest(f"{text!r} is not NAME=VALUE", "--set")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _cell(value: object) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ".join(text.split())
