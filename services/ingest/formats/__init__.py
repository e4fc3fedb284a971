"""The formats of events: one module each, all for the same pipeline."""

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from schemas.errors import AvilaError
from services.ingest.events import Batch, EventResult
from services.ingest.limits import Limits


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP request as a format sees it.

    `path` is canonical: without doubled slashes and without a closing one. `query` is the address
    after the `?`, undecoded. Header names are in lower case. `content_type` is in lower case and
    without parameters. `body` is complete, and decompressed from its `Content-Encoding`.
    `client_ip` is the sender's address.

    A format that expands a request keeps within `limits`, and first calls `grow` with the bytes it
    needs; `grow` raises `BackOff` if the process is at a limit.
    """

    method: str
    path: str
    query: bytes
    headers: Mapping[bytes, bytes]
    content_type: str
    body: bytes
    client_ip: str
    limits: Limits
    grow: Callable[[int], None]


class Answer(msgspec.Struct, frozen=True):
    """An HTTP answer.

    `retry_after_s` of 0 means no `Retry-After`. `allow` lists the accepted methods of a 405. With
    `close`, the connection closes after the answer.
    """

    status: int
    body: bytes
    content_type: str = "application/json"
    retry_after_s: float = 0
    allow: str = ""
    close: bool = False


class EventFormat(Protocol):
    """Reads and writes one format of events over HTTP. Has no state and decides about no event."""

    @property
    def name(self) -> str:
        """The format's name in metrics and logs."""

    @property
    def methods(self) -> frozenset[str]:
        """The accepted methods; HEAD comes with GET, and all others are answered with 405."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The canonical paths of the format."""

    def parse(self, request: Request) -> Batch:
        """Read the events of a request.

        Raises:
            InvalidRequest: the body as a whole is not in this format.
        """

    def answer(self, batch: Batch, results: list[EventResult], retry_after_s: float) -> Answer:
        """Return the answer to a batch; events whose result is `retry` may be sent again then."""

    def refuse(self, error: AvilaError) -> Answer:
        """Return the answer to a refused request, as the format's SDKs read it."""
