"""The formats that events come in: one module a door, all on the same path."""

from typing import Protocol

import msgspec

from services.ingest.events import Batch, Result


class Request(msgspec.Struct, frozen=True):
    """What a door may look at; the body is whole and decompressed."""

    body: bytes
    content_type: str
    project_id: str


class Answer(msgspec.Struct, frozen=True):
    """What the client is told: when to come back, which methods there are, that the line is cut."""

    status: int
    body: bytes
    content_type: str = "application/json"
    retry_after_s: float = 0
    allow: str = ""
    close: bool = False


class Door(Protocol):
    """Reads and writes one format of events over HTTP. Keeps no state and decides nothing."""

    @property
    def name(self) -> str:
        """What metrics call it."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Where it is, exactly."""

    def parse(self, request: Request) -> Batch:
        """Read the events of a request.

        Raises:
            InvalidRequest: the body as a whole is not of this format.
        """

    def answer(self, results: list[Result], retry_after_s: float) -> Answer:
        """Say what became of the events, given when to try again what is to be tried again."""
