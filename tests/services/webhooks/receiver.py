"""A receiver of webhooks on this machine, which answers as a test says."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, NamedTuple

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.listening import listen
from services.notifier.run import QuietServer
from tests.processes import pause_s

DEADLINE_S = 120.0


class Received(NamedTuple):
    """A request: its headers and body, and the status that it was answered with."""

    headers: Mapping[str, str]
    body: bytes
    status: int

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.body)
        return read


Behave = Callable[[Received], int]


class Receiver:
    """Answers 204, or what `behave` returns; 3xx redirect to `location`.

    It does so after `pause_s`, or once `no_pause` is set.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.received: list[Received] = []
        self.behave: Behave = lambda _: 204
        self.pause_s = 0.0
        self.no_pause = asyncio.Event()
        self.location = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def taken(self) -> list[Received]:
        return [one for one in self.received if one.status < 300]

    async def answer(self, request: Request) -> Response:
        body = await request.body()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.no_pause.wait(), self.pause_s)
        got = Received(dict(request.headers), body, 0)
        status = self.behave(got)
        self.received.append(got._replace(status=status))
        headers = {"location": self.location} if self.location else None
        return Response(status_code=status, headers=headers)


@contextlib.asynccontextmanager
async def receiving(port: int = 0) -> AsyncIterator[Receiver]:
    """Run a receiver, on a port if one is given."""
    with listen("127.0.0.1", port, "receiver") as listener:
        receiver = Receiver(int(listener.getsockname()[1]))
        app = Starlette(routes=[Route("/hook", receiver.answer, methods=["POST"])])
        server = QuietServer(uvicorn.Config(app, log_config=None, ws="none", lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield receiver
        finally:
            server.should_exit = True
            await serving


async def eventually(holds: Callable[[], bool], what: Callable[[], object]) -> None:
    """Wait until something holds."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() < started + DEADLINE_S, what()
        await asyncio.sleep(pause_s(started))
