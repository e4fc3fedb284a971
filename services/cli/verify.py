"""`avila verify`: whether ClickHouse counts what the stream counts."""

import json
from collections.abc import Callable
from typing import Any, Final

import click

from schemas.errors import AvilaError, Conflict, InvalidRequest, NotFound, Unauthorized, Unavailable
from schemas.settings import QUERY_PORT, Settings

_TIMEOUT_S: Final = 120.0
_KINDS: Final = ("funnel", "cohort", "segment", "metric")
_MAX_PAGES: Final = 1_000

_ERRORS: Final[dict[int, type[AvilaError]]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Unauthorized,
    404: NotFound,
}


@click.command("verify")
@click.argument("project")
@click.argument("kind", type=click.Choice(_KINDS))
@click.argument("id_", metavar="ID")
@click.option("--url", help="Address of the query service (default: on this machine).")
@click.option("--token", help="Query token (default: that of `avila up` on this machine).")
@click.option("--json", "as_json", is_flag=True, help="Print what REST answers, in JSON.")
@click.pass_obj
def verify(
    settings: Callable[[], Settings],
    /,
    project: str,
    kind: str,
    id_: str,
    url: str | None,
    token: str | None,
    *,
    as_json: bool,
) -> None:
    """Compare the figures of ID in PROJECT on the stream with ClickHouse's.

    Both count the same events. If they differ, the events of the store are compared with those of
    the log, all of them, and the persons behind the difference are named. The exit code is 1 then.
    """
    read = settings()
    at = url or f"http://127.0.0.1:{read.port(QUERY_PORT)}"
    answer = _ask(read, at, (project, kind, id_), token, None)
    after = answer["next"]
    for _ in range(_MAX_PAGES):
        if after is None:
            break
        page = _ask(read, at, (project, kind, id_), token, after)
        answer["events"] += page["events"]
        known = {one["person"] for one in answer["persons"]}
        answer["persons"] += [one for one in page["persons"] if one["person"] not in known]
        answer["cause"] = answer["cause"] or page["cause"]
        after = answer["next"] = page["next"]
    click.echo(json.dumps(answer, ensure_ascii=False) if as_json else _report(answer))
    if not answer["equal"]:
        raise Conflict(f"the {kind} {id_} is not the same on the stream and in ClickHouse")


def _report(answer: dict[str, Any]) -> str:
    positions = ", ".join(f"{offset} of {number}" for number, offset in answer["positions"].items())
    if answer["equal"]:
        return f"equal: the stream and ClickHouse agree below the offsets {positions or 'of none'}"
    lines = [f"{answer['differing']} figures differ below the offsets {positions}"]
    lines += [
        f"  {one['figure']}: {one['stream']} on the stream, {one['store']} in ClickHouse"
        for one in answer["figures"]
    ]
    lines += [f"  {one['person']}: {one['text']}" for one in answer["persons"]]
    lines += [
        f"  partition {one['partition']}, offset {one['offset']}, {one['event']} of "
        f"{one['person']}: {one['text']}"
        for one in answer["events"]
    ]
    if answer["cause"] == "stream":
        lines.append("  the store has exactly the events of the log: the stream counts otherwise")
    return "\n".join(lines)


def _ask(
    settings: Settings, at: str, of: tuple[str, str, str], token: str | None, after: str | None
) -> dict[str, Any]:
    """Return the answer of the query service.

    Raises:
        AvilaError: what the service refuses, by the message that it gives.
        Unavailable: it does not answer.
    """
    from urllib.parse import quote  # noqa: PLC0415

    import httpx  # noqa: PLC0415

    from services.keys.first import read_token  # noqa: PLC0415

    project, kind, name = (quote(part, safe="") for part in of)
    try:
        answer = httpx.get(
            f"{at.rstrip('/')}/api/projects/{project}/{kind}s/{name}/verify",
            params={} if after is None else {"after": after},
            headers={"authorization": f"Bearer {token or read_token(settings)}"},
            timeout=_TIMEOUT_S,
        )
        answered: dict[str, Any] = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise Unavailable(f"the query service at {at} does not answer: {error}") from None
    if answer.is_success:
        return answered
    message = str(answered.get("error", {}).get("message", answer.reason_phrase))
    raise _ERRORS.get(answer.status_code, Unavailable)(message)
