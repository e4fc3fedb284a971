"""The formats that events come in: one module a door, all on the same path."""

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from schemas.errors import AvilaError
from services.ingest.events import Batch, Result
from services.ingest.limits import Limits


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a door may look at.

    `body` is whole, and decompressed as `Content-Encoding` says; `query` is what follows the `?` of
    the address, as it came; names of headers are in small letters; `content_type` is its value
    without parameters, in small letters too. `client_ip` is that of whoever sent it.
    A door that makes more of a request than came keeps to `limits`, and tells `grow` how many bytes
    it takes, before it does: `grow` raises `BackOff` if there is no memory for them.
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
    """What the client is told: when to come back, which methods there are, that the line is cut."""

    status: int
    body: bytes
    content_type: str = "application/json"
    retry_after_s: float = 0
    allow: str = ""
    close: bool = False


class EventFormat(Protocol):
    """Reads and writes one format of events over HTTP. Keeps no state and decides nothing."""

    @property
    def name(self) -> str:
        """What metrics call it."""

    @property
    def methods(self) -> frozenset[str]:
        """What may be asked with; everything else is answered with 405."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Where it is, exactly."""

    def parse(self, request: Request) -> Batch:
        """Read the events of a request.

        Raises:
            InvalidRequest: the body as a whole is not of this format.
        """

    def answer(self, batch: Batch, results: list[Result], retry_after_s: float) -> Answer:
        """Say what became of the events of `batch`, and when to try again what is to be retried."""

    def refuse(self, error: AvilaError) -> Answer:
        """Say why the request as a whole was not taken, so that its sender understands it."""
