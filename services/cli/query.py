"""`avila query`: the query service, and queries of it from the command line.

Standard output holds the answer: a table for people, with `--json` the answer as it came, or with
`--format` a table for programs.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    import httpx

from schemas.errors import AvilaError, InvalidRequest, Unauthorized, Unavailable
from schemas.settings import QUERY_PORT, Settings
from services.cli.table import fetch_table, read_table_format, table_options

ReadSettings = Callable[[], Settings]

_TIMEOUT_S: Final = 60.0
_OK: Final = 300


class _Kinds(click.Group):
    """A command for each kind of query; the kinds are imported when one is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (as click calls it)
        """Return the names of the kinds."""
        from schemas.queries import QUERIES  # noqa: PLC0415

        return [spec.name for spec in QUERIES]

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 (as click calls it)
        cmd_name: str,
    ) -> click.Command | None:
        """Return the command of a kind."""
        from schemas.queries import QUERIES  # noqa: PLC0415

        found = next((spec for spec in QUERIES if spec.name == cmd_name), None)
        return None if found is None else _command(found.name, found.summary)


@click.group("query", cls=_Kinds, invoke_without_command=True)
@click.pass_context
def query(context: click.Context) -> None:
    """Run the query service (HTTP, WebSocket and gRPC), or ask it a query.

    `avila query` alone runs the service. `avila query trends …` asks the one that runs.
    """
    if context.invoked_subcommand is None:
        from services.query.server import run_query  # noqa: PLC0415

        run_query(context.obj())


_OPTIONS: Final = (
    click.option("--project", default="default", show_default=True),
    click.option("--url", help="Address of the query service (default: on this machine)."),
    click.option("--token", help="Query token (default: that of `avila up` on this machine)."),
    click.option("--from", "from_", help="A date, or a time with a zone."),
    click.option("--to", help="A date, which is included, or a time with a zone, which is not."),
    click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON."),
)
_TRENDS_OPTIONS: Final = (
    click.option("--event", "events", multiple=True, help="Add a series of this event."),
    click.option("--measure", default="events", show_default=True, help="What series measure."),
    click.option("--property", "of", help="The property that series measure."),
    click.option("--by", "by", multiple=True, help="Break down by this property of the event."),
    click.option("--interval", help="minute, hour, day, week or month."),
    click.option("--last", type=click.IntRange(1), help="The last N intervals."),
    click.option("--compare", is_flag=True, help="Compare to the period before."),
)


def _command(kind: str, summary: str) -> click.Command:
    @click.command(
        kind,
        help=f"{summary}. BODY is the query as JSON, @FILE, or - for standard input; options set "
        "fields of it.",
    )
    @click.argument("body", default="{}")
    @click.pass_obj
    def command(settings: ReadSettings, /, body: str, **options: Any) -> None:
        asked = _read_body(body)
        where = {name: options.pop(name) for name in ("project", "url", "token")}
        as_json: bool = options.pop("as_json")
        output: Path | None = options.pop("output")
        table_format = read_table_format(options.pop("table_format"), output)
        asked |= _fields(**options)
        if table_format is not None:
            fetch_table(settings(), f"query/{kind}", asked, table_format, output, **where)
            return
        answer = ask(settings(), f"query/{kind}", asked, **where)
        if as_json:
            click.echo(json.dumps(answer, ensure_ascii=False))
            return
        from services.cli.query_report import report  # noqa: PLC0415

        click.echo(report(kind, answer))

    made: click.Command = command
    for option in reversed((*_OPTIONS, *(_TRENDS_OPTIONS if kind == "trends" else ()))):
        made = option(made)
    return table_options(made)


def _read_body(text: str) -> dict[str, Any]:
    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text("utf-8")
        body = json.loads(text)
    except OSError as error:
        raise InvalidRequest(f"cannot be read: {error.strerror}", "BODY") from None
    except ValueError as error:
        raise InvalidRequest(f"is not JSON: {error}", "BODY") from None
    if not isinstance(body, dict):
        raise InvalidRequest("must be a JSON object", "BODY")
    return body


def _fields(
    from_: str | None,
    to: str | None,
    events: Sequence[str] = (),
    measure: str = "events",
    of: str | None = None,
    by: Sequence[str] = (),
    interval: str | None = None,
    last: int | None = None,
    compare: bool = False,
) -> dict[str, Any]:
    """Return the fields of a query that options set."""
    property_ = {} if of is None else {"property": of}
    series = [{"event": event, "measure": measure} | property_ for event in events]
    fields = {
        "from": from_,
        "to": to,
        "series": series or None,
        "breakdown": [{"property": name} for name in by] or None,
        "interval": interval,
        "last": last,
        "compare": compare or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def ask(
    settings: Settings,
    what: str,
    body: dict[str, Any],
    *,
    project: str,
    url: str | None,
    token: str | None,
) -> dict[str, Any]:
    """Return the answer of the query service to what is posted to a path of a project.

    Raises:
        AvilaError: what the service refuses, by the message that it gives.
        Unavailable: it does not answer.
    """
    from urllib.parse import quote  # noqa: PLC0415

    import httpx  # noqa: PLC0415

    from services.keys.first import read_token  # noqa: PLC0415

    at = url or f"http://127.0.0.1:{settings.port(QUERY_PORT)}"
    path = f"{at.rstrip('/')}/api/projects/{quote(project, safe='')}/{what}"
    headers = {"authorization": f"Bearer {token or read_token(settings)}"}
    try:
        answer = httpx.post(path, json=body, headers=headers, timeout=_TIMEOUT_S)
        if answer.status_code < _OK:
            answered: dict[str, Any] = answer.json()
            return answered
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise Unavailable(f"the query service at {at} does not answer: {error}") from None
    raise refusal(answer)


def refusal(answer: "httpx.Response") -> AvilaError:
    """Return the error that an answer of the query service reports."""
    try:
        message = str(answer.json()["error"]["message"])
    except (ValueError, LookupError, TypeError):
        message = f"the query service answers {answer.status_code} {answer.reason_phrase}"
    match answer.status_code:
        case 400:
            return InvalidRequest(message)
        case 401 | 403:
            return Unauthorized(message)
    return Unavailable(message)
