"""What the endpoints over HTTP share: a request is read, and its answer sent."""

from collections.abc import Iterable, Mapping

from starlette.types import Receive, Scope, Send

from services.connections import WHOLE_BODY
from services.ingest import cors
from services.ingest.admission import Reservation
from services.ingest.body import read_body
from services.ingest.formats import Answer, Request
from services.ingest.limits import Limits
from services.ingest.paths import canonical_path
from services.ingest.refusals import headers
from services.listening import client_of


async def receive_request(
    scope: Scope,
    given: Mapping[bytes, bytes],
    receive: Receive,
    reservation: Reservation,
    limits: Limits,
) -> Request:
    """Read a request with its whole body; `given` are its headers.

    Raises:
        ClientGone: the client has disconnected.
        AvilaError: the body is refused, as `read_body` says.
    """
    length = given.get(b"content-length")
    encodings = [value for name, value in scope["headers"] if name == b"content-encoding"]
    body = await read_body(
        receive,
        b",".join(encodings).decode("latin-1"),
        int(length) if length else None,
        reservation,
        limits,
        is_whole=WHOLE_BODY in scope.get("extensions", ()),
    )
    content_type = given.get(b"content-type", b"").decode("latin-1")
    return Request(
        method=scope["method"],
        path=canonical_path(scope["path"]),
        query=scope["query_string"],
        headers=given,
        content_type=content_type.partition(";")[0].strip().lower(),
        body=body,
        client_ip=client_of(scope),
        limits=limits,
        grow=reservation.grow,
    )


async def send_answer(
    send: Send,
    answer: Answer,
    origin: bytes | None,
    more: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Send an answer, with `more` headers, that a page of the origin may read, if there is one."""
    lines = [*headers(answer), *more]
    if origin is not None:
        lines += cors.allow_origin(origin)
    await send({"type": "http.response.start", "status": answer.status, "headers": lines})
    await send({"type": "http.response.body", "body": answer.body})
