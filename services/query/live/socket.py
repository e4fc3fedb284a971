"""The WebSocket at `/api/projects/{project}/live`: results and events as they come.

The query token, of scope `read`, is in the `Authorization` header or, as browsers cannot set one,
in the first message, `{"token": "aqt_…"}`: an address would be written to logs. A connection with
the cookie of a session needs none, and is accepted only from our own page, by its `Origin`. Token
or session are checked again for as long as the connection lasts.

    ◀ {"ready": {"project_id": "shop"}}
    ▶ {"subscribe": "funnels"}
    ◀ {"subscribed": "funnels"}
    ◀ {"funnels": [{"id": "buy", "version": 1, "totals": {"steps": […]}, …}], "deleted": []}
    ▶ {"subscribe": "metrics"}
    ◀ {"subscribed": "metrics"}
    ◀ {"metrics": [{"id": "sales", "version": 1, "now": {"value": 12.5, …}, …}], "deleted": []}
    ▶ {"subscribe": "events", "sample": 0.1}
    ◀ {"subscribed": "events"}
    ◀ {"events": [{"event": "purchase", "person_id": "u1", …}], "sampled_out": 9, "dropped": 0}
    ▶ {"unsubscribe": "events"}
    ◀ {"unsubscribed": "events"}

Topics are `events` and the operators with live results. A topic has a message every 0.2 s at most,
and none while there is nothing new:
- `funnels`: the results over all days of each funnel that has changed since the last message; the
  first message has all funnels. A slow reader gets fewer messages, each with the latest results.
- `segments`: the same of segments: how many persons are in each.
- `cohorts`: which cohorts' grids have changed; the grids themselves are on REST.
- `metrics`: the same of metrics: the bucket of this moment and the one before. They also change as
  time passes, which is checked every second.
- `events`: what the Tracker accepts from now on, as the event store has it (times in milliseconds
  since 1970). An even `sample` of them (a share up to 1, the default) is sent, and never more than
  `MAX_EVENTS_PER_S` a second for a project; `sampled_out` counts the others. A slow reader loses
  the oldest events that wait beyond 1 MiB; `dropped` counts them.

What cannot be done is answered with an `error` whose `id` is null, and the rest continues; the
error for an unknown topic lists the known ones. Before the service closes a connection, with a code
of `services.sockets`, an `error` has the reason: the token is not valid any more, or the client has
taken nothing for `WRITE_TIMEOUT_S` (1013, without a message, as it would not read it).
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send
from websockets.frames import CloseCode

from schemas.definitions import is_id
from schemas.errors import AvilaError, BackOff, InvalidRequest
from services.errors import error_response
from services.keys.tokens import authorize, authorize_session
from services.keys.view import Keys
from services.places import Places
from services.query.http.params import now_ms
from services.query.http.telemetry import QueryTelemetry
from services.query.live.connection import LiveConnection
from services.query.live.event_tail import Tail
from services.query.live.feed import LiveResults
from services.query.live.messages import Command, read_command, receive_token
from services.query.live.subscriptions import (
    EventsSubscription,
    ResultsSubscription,
    Subscription,
    Wake,
)
from services.query.sessions.cookie import check_own_page, secret_of
from services.sockets import Gone, SlowReader, Socket, close_code, trouble
from services.topic_view import TopicView

MAX_MESSAGE_BYTES: Final = 4_096
MAX_CONNECTIONS: Final = 256
WRITE_TIMEOUT_S: Final = 10.0

log = structlog.get_logger(__name__)


class Live:
    """The ASGI application of the route.

    `views` are those that results are read from: while one is not ready, no connection is accepted.
    `places` has the connections that there may be, of all sorts.
    `results` has the live results of each operator that has some, by its plural. `clock` gives
    milliseconds since 1970.
    """

    def __init__(
        self,
        keys: Keys,
        views: Sequence[TopicView[Any]],
        results: Mapping[str, LiveResults[Any]],
        tail: Tail,
        telemetry: QueryTelemetry,
        places: Places,
        *,
        clock: Callable[[], int] = now_ms,
        write_timeout_s: float = WRITE_TIMEOUT_S,
    ) -> None:
        self._keys = keys
        self._views = views
        self._results = results
        self._topics = ("events", *results)
        self._tail = tail
        self._telemetry = telemetry
        self._clock = clock
        self._write_timeout_s = write_timeout_s
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection to its end."""
        socket = Socket(scope, receive, send, self._write_timeout_s)
        try:
            await self._serve(socket, scope)
        except Gone:
            pass
        except AvilaError as error:
            self._telemetry.live_refused(error.code)
            await _refuse(socket, error)
        except Exception:  # whatever it is, this client gets an answer
            log.exception("live_connection_failed")
            await socket.close(CloseCode.INTERNAL_ERROR, "an error of ours; it has been logged")

    async def _serve(self, socket: Socket, scope: Scope) -> None:
        project_id: str = scope["path_params"]["project"]
        if not is_id(project_id):
            raise InvalidRequest("accepted are 1 to 64 letters, digits and `._-`", "project")
        for view in self._views:
            view.require()
        headers = Headers(scope=scope)
        authorization = headers.get("authorization", "")
        secret = "" if authorization else secret_of(headers)

        def check() -> None:
            if secret:
                authorize_session(self._keys, secret, "read", project_id, self._clock())
            else:
                authorize(self._keys, authorization, "read", project_id, self._clock())

        if secret:
            check_own_page(headers, changing=True)
        if secret or authorization:
            check()
            await socket.accept()
        else:
            with self._places.stranger():
                await socket.accept()
                authorization = f"Bearer {await receive_token(socket)}"
            check()
        with self._places.member(project_id):
            await socket.send(msgspec.json.encode({"ready": {"project_id": project_id}}))
            connection = LiveConnection(socket, self._topics, check, self._telemetry)
            try:
                await _first_of(self._obey(connection, project_id), connection.send_messages())
            finally:
                connection.end()

    async def _obey(self, connection: LiveConnection, project_id: str) -> None:
        """Do what the client asks for, until it leaves."""
        while True:
            body = await connection.socket.receive()
            try:
                command = read_command(body, self._topics)
                if command.subscribe is not None:
                    subscription = self._subscription(command, project_id, connection.wake)
                    await connection.subscribe(command.subscribe, subscription)
                else:
                    await connection.unsubscribe(command.unsubscribe or "")
            except SlowReader:
                raise
            except (InvalidRequest, BackOff) as error:
                await connection.socket.send(trouble(error, None))

    def _subscription(self, command: Command, project_id: str, wake: Wake) -> Subscription:
        topic = command.subscribe or ""
        if topic == "events":
            sample = 1 if command.sample is None else command.sample
            return EventsSubscription(self._tail, project_id, sample, wake)
        return ResultsSubscription(topic, self._results[topic], project_id, wake)


async def _refuse(socket: Socket, error: AvilaError) -> None:
    """End the connection, in HTTP if it has not begun."""
    with contextlib.suppress(Gone, SlowReader):
        if not socket.accepted:
            answer = error_response(error)
            await socket.deny(answer.status_code, answer.raw_headers, bytes(answer.body))
            return
        if not isinstance(error, SlowReader):
            await socket.send(trouble(error))
    await socket.close(close_code(error), str(error))


async def _first_of(*doing: Coroutine[Any, Any, None]) -> None:
    """Do all at once; return or raise as the first that ends does, and cancel the others."""
    tasks = {asyncio.create_task(one) for one in doing}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
