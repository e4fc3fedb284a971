"""ClickHouse's HTTP interface on Starlette.

A request is authenticated, read to its end, queued for one of the engine's slots, run and answered.
"""

import asyncio
import base64
import binascii
import contextlib
import hmac
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, ExitStack
from pathlib import Path
from typing import Final

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from schemas.errors import AvilaError, BackOff
from services.errors import status_of
from services.store.backups import back_up
from services.store.engine import Engine
from services.store.errors import Code, StoreError
from services.store.projects import ProjectUsers
from services.store.reach import check_reach, check_settings, check_text
from services.store.requests import Call, read_arguments, read_call
from services.store.responses import ClientGone, Headers, Reply, answer
from services.store.running import Running
from services.store.values import check_values

log = structlog.get_logger(__name__)

HANDLES: Final = 16
WAITING_PER_HANDLE: Final = 8
# As on a server. Clients are told: one that reuses a connection which has been closed fails.
KEEP_ALIVE_S: Final = 30


def make_store_app(
    path: Path,
    user: str,
    password: str,
    projects: ProjectUsers,
    *,
    handles: int = HANDLES,
    waiting: int | None = None,
) -> Starlette:
    """Return ClickHouse's HTTP interface to the engine on `path`; the app's lifespan opens it.

    At most `handles` statements run at once and `waiting` more are queued (by default eight times
    as many); any further request is answered 503. Make one app per process, and never fork after.
    """
    waiting = handles * WAITING_PER_HANDLE if waiting is None else waiting
    return make_app(Engine(path, handles=handles, waiting=waiting), user, password, projects)


def make_app(engine: Engine, user: str, password: str, projects: ProjectUsers) -> Starlette:
    """Return the application around an engine; its lifespan opens and closes the engine."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        engine.open()
        log.info("store open", path=str(engine.path), engine=engine.version)
        try:
            yield
        finally:
            await projects.close()
            await engine.close()
            log.info("store closed", path=str(engine.path))

    endpoint = _Statements(engine, user, password, projects)
    return Starlette(
        routes=[
            Route("/", endpoint, methods=["GET", "POST"]),
            Route("/backup", endpoint.back_up, methods=["POST"]),
            Route("/ping", _ok),
            Route("/replicas_status", _ok),
        ],
        lifespan=lifespan,
    )


async def _ok(_: Request) -> PlainTextResponse:
    return PlainTextResponse("Ok.\n")


class _Statements:
    """The endpoint that runs statements."""

    def __init__(self, engine: Engine, user: str, password: str, projects: ProjectUsers) -> None:
        self._engine = engine
        self._user = user
        self._password = password
        self._projects = projects

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        reply = Reply(send, self._headers())
        with contextlib.suppress(ClientGone, ClientDisconnect):
            try:
                await self._serve(request, reply)
            except StoreError as error:
                await reply.fail(error, self._engine.version)
            except BackOff as error:
                busy = StoreError(Code.TOO_MANY_SIMULTANEOUS_QUERIES, str(error))
                await reply.fail(busy, self._engine.version)
            except (ClientGone, ClientDisconnect):
                raise
            except Exception:
                log.exception("request failed")
                if not reply.started:
                    unknown = StoreError(
                        Code.UNKNOWN_EXCEPTION, "Internal error; see the store's log"
                    )
                    await reply.fail(unknown, self._engine.version)

    async def _serve(self, request: Request, reply: Reply) -> None:
        if "origin" in request.headers:
            raise StoreError(
                Code.ACCESS_DENIED, "Web pages have no access: the request has the header Origin"
            )
        arguments = read_arguments(request)
        if request.method != "POST" and "query" not in arguments:
            await reply.start(200, {"Content-Type": "text/html; charset=UTF-8"})
            await reply.end(b"Ok.\n")
            return
        project = await self._authenticate(request, arguments)
        with ExitStack() as spools:
            call = await read_call(request, arguments, self._engine.path, spools)
            if call is None:
                raise StoreError(Code.SYNTAX_ERROR, "Syntax error: Empty query")
            given_id = call.job.query_id
            turn: AbstractAsyncContextManager[None] = contextlib.nullcontext()
            if project:
                reply.blames_query = True
                call = await self._projects.restricted(call, project)
                turn = self._projects.turns.turn(project)
            check_reach(call.job.statement, self._engine.refused)
            check_settings(call.job.settings.values(), self._engine.refused)
            for table in call.job.tables:
                check_text(table.structure.encode(errors="surrogateescape"), self._engine.refused)
            job = await asyncio.to_thread(check_values, call.job, call.values, self._engine.refused)
            call = msgspec.structs.replace(call, job=job)
            reply.add({"X-ClickHouse-Query-Id": given_id})
            async with turn, self._engine.slot():
                await self._run(request, reply, call)

    async def back_up(self, request: Request) -> PlainTextResponse:
        """Back up a database into a directory of this machine; for the store's own user alone."""
        arguments = read_arguments(request)
        try:
            if "origin" in request.headers or await self._authenticate(request, arguments):
                raise StoreError(Code.ACCESS_DENIED, "Only the store's own user backs it up")
            directory, database = (Path(arguments.get("directory", "")), arguments.get("database"))
            rows = await asyncio.to_thread(back_up, self._engine, directory, database or "")
        except StoreError as error:
            return PlainTextResponse(f"{error.text}\n", error.status)
        except AvilaError as error:
            return PlainTextResponse(f"{error}\n", status_of(error))
        return PlainTextResponse(f"{rows}\n")

    async def _run(self, request: Request, reply: Reply, call: Call) -> None:
        async with self._engine.run(call.job) as running:
            watch = asyncio.create_task(_watch_disconnect(request, running))
            try:
                accept = request.headers.get("accept-encoding", "")
                await answer(reply, running, call, self._engine, accept)
            finally:
                watch.cancel()

    async def _authenticate(self, request: Request, arguments: dict[str, str]) -> str:
        """Return the project of the user; empty if it is the store's own user."""
        user, password = _credentials(request, arguments)
        if self._projects.is_token(password):
            return await self._projects.log_in(user, password)
        user_matches = hmac.compare_digest(user.encode(errors="replace"), self._user.encode())
        password_matches = hmac.compare_digest(
            password.encode(errors="replace"), self._password.encode()
        )
        if not (user_matches and password_matches):
            offered = "authorization" in request.headers or bool(password)
            raise StoreError(
                Code.AUTHENTICATION_FAILED,
                f"{user}: Authentication failed: password is incorrect, or there is no user "
                "with such name.",
                403 if offered else 401,
            )
        return ""

    def _headers(self) -> Headers:
        return {
            "X-ClickHouse-Server-Display-Name": "avila",
            "X-ClickHouse-Timezone": self._engine.timezone,
            "Keep-Alive": f"timeout={KEEP_ALIVE_S}",
        }


async def _watch_disconnect(request: Request, running: Running) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    running.client_left()


def _credentials(request: Request, arguments: dict[str, str]) -> tuple[str, str]:
    """Return user and password from the first place in the request that has either."""
    headers = request.headers
    if "x-clickhouse-user" in headers or "x-clickhouse-key" in headers:
        return headers.get("x-clickhouse-user", "default"), headers.get("x-clickhouse-key", "")
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(token, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return user, password
    if scheme:
        return "", ""
    return arguments.get("user", "default"), arguments.get("password", "")
