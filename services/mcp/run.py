"""Runs the server: for one agent over stdio, or over HTTP for whoever brings a token.

Over HTTP each request has the token of its caller, and there are no sessions. A request with the
header `Origin`, as web pages send it, is refused unless the origin is allowed; so is a `Host` that
is not this machine's or allowed, which a page could have pointed here.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog
import uvicorn
from mcp.server.stdio import stdio_server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from schemas.errors import Unauthorized
from services.connections import Connection
from services.errors import error_response
from services.listening import listen
from services.mcp.rest import Rest
from services.mcp.server import make_server, token_of_header

log = structlog.get_logger(__name__)

PATH: Final = "/mcp"
_MAX_BODY_BYTES: Final = 1 << 20
_LOCAL: Final = ("127.0.0.1:*", "localhost:*", "[::1]:*")


def run_stdio(address: str, token: str, default_project: str) -> None:
    """Serve the agent at the other end of standard input and output until it closes them."""

    async def serve() -> None:
        rest = Rest(address)
        server = make_server(rest, lambda _: token, default_project)
        try:
            async with stdio_server() as (read, write):
                await server.run(read, write, server.create_initialization_options())
        finally:
            await rest.close()

    asyncio.run(serve())


def run_http(
    address: str,
    default_project: str,
    host: str,
    port: int,
    allowed_hosts: Sequence[str] = (),
    allowed_origins: Sequence[str] = (),
) -> None:
    """Serve at `PATH` until SIGTERM or SIGINT.

    Raises:
        Misconfigured: the port is taken.
    """
    with listen(host, port, "MCP server") as listener:
        app = make_app(address, default_project, allowed_hosts, allowed_origins)
        config = uvicorn.Config(
            app, http=Connection, access_log=False, log_config=None, server_header=False
        )
        log.info("mcp_listening", host=host, port=listener.getsockname()[1])
        uvicorn.Server(config).run(sockets=[listener])


def make_app(
    address: str,
    default_project: str = "",
    allowed_hosts: Sequence[str] = (),
    allowed_origins: Sequence[str] = (),
) -> ASGIApp:
    """Return the ASGI application, which asks the query service at an address."""
    rest = Rest(address)
    server = make_server(rest, token_of_header, default_project)
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        json_response=True,
        stateless_http=True,
        max_request_body_size=_MAX_BODY_BYTES,
        transport_security=TransportSecuritySettings(
            allowed_hosts=[*_LOCAL, *allowed_hosts], allowed_origins=list(allowed_origins)
        ),
    )
    return _TokenRequired(app, rest)


class _TokenRequired:
    """Refuses requests without a token; whether it is valid is for the REST API to say.

    It closes the connections to the API when the application ends.
    """

    def __init__(self, app: ASGIApp, rest: Rest) -> None:
        self._app = app
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            try:
                await self._app(scope, receive, send)
            finally:
                await self._rest.close()
            return
        if scope["type"] == "http":
            scheme = Headers(scope=scope).get("authorization", "").partition(" ")[0]
            if scheme.lower() != "bearer":
                error = Unauthorized("send a query token as `Authorization: Bearer aqt_…`")
                await error_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)
