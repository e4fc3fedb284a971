"""Server-Sent Events at `/api/projects/{project}/live/{topic}`: one topic of the WebSocket.

    ▶ GET /api/projects/shop/live/funnels
    ◀ retry: 1000
      id: 5f0c…
      event: funnels
      data: {"funnels": [{"id": "buy", …}], "deleted": [], "reset": true}

Topics and messages are those of `services.query.live.socket`; with `/live/{topic}/{id}` they are
about one definition. A message with `reset` has all there is: whoever holds more forgets it.

The id of a message stands for the state of everything sent by then. Who comes again with
`Last-Event-ID` gets nothing if that is still so, and otherwise a `reset`: in either case the reader
then has the present state, though not each state between. Events are a sample, and have no ids.

A query token, or the session of the page, is checked as often as on the WebSocket, and the
connection counts among the same places. A comment comes every `HEARTBEAT_S` while there is nothing
else. An `error` event precedes the end of a connection that the service ends; a client that has
taken nothing for some seconds is disconnected.
"""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from schemas.definitions import is_id
from schemas.errors import AvilaError, BackOff, InvalidRequest, NotFound
from services.errors import error_response
from services.keys.view import Keys
from services.places import Places
from services.query.http.auth import check_access
from services.query.http.params import now_ms, project_of, read_decimal
from services.query.http.routes import check_parameters
from services.query.http.telemetry import QueryTelemetry
from services.query.live.connection import BEGIN_TIMEOUT_S, CHECK_S, TICK_S
from services.query.live.event_tail import Tail
from services.query.live.feed import LiveResults
from services.query.live.subscriptions import (
    EventsSubscription,
    ResultsSubscription,
    Subscription,
    Wake,
)
from services.sockets import SlowReader, trouble
from services.topic_view import TopicView

MEDIA_TYPE: Final = "text/event-stream"
HEARTBEAT_S: Final = 15.0
WRITE_TIMEOUT_S: Final = 10.0
_RETRY_MS: Final = 1_000
_ACCEPTED: Final = {MEDIA_TYPE, "text/*", "*/*", ""}
_EVENTS: Final = "events"
# In texts of JSON they are escaped.
_SPACES: Final = bytes.maketrans(b"\r\n", b"  ")

log = structlog.get_logger(__name__)


class EventStreams:
    """The endpoint; its arguments are those of `services.query.live.socket.Live`."""

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
    ) -> None:
        self._keys = keys
        self._views = views
        self._results = results
        self._tail = tail
        self._telemetry = telemetry
        self._places = places
        self._clock = clock

    async def answer(self, request: Request) -> Response:
        """Return the response that sends the messages of a topic until either side ends it.

        Raises:
            AvilaError: why the connection is refused.
        """
        try:
            for view in self._views:
                view.require()
            project_id = project_of(request)

            def check() -> None:
                headers = request.headers
                check_access(self._keys, headers, "read", project_id, self._clock(), changing=False)

            check()
            _check_accept(request)
            subscribe = self._subscriber(request, project_id)
        except AvilaError as error:
            self._telemetry.live_refused(error.code)
            raise
        topic = request.path_params["topic"]
        return _EventStream(self, request, topic, project_id, check, subscribe)

    def _subscriber(self, request: Request, project_id: str) -> Callable[[Wake], Subscription]:
        """Return what makes the subscription that a request asks for."""
        topic, name = request.path_params["topic"], request.path_params.get("id")
        given = [key for key, _ in request.query_params.multi_items()]
        if topic == _EVENTS and name is None:
            check_parameters(given, ("sample",))
            sample = _read_sample(request)
            return lambda wake: EventsSubscription(self._tail, project_id, sample, wake)
        if topic not in self._results:
            accepted = ", ".join(self._results)
            raise NotFound(f"{topic!r:.60} is no topic; accepted are {_EVENTS} and {accepted}")
        check_parameters(given, ())
        feed = self._results[topic]
        if name is not None and (not is_id(name) or feed.state(project_id, name) is None):
            raise NotFound(f"project {project_id} has nothing of that id among its {topic}")
        last_id = request.headers.get("last-event-id", "")
        return lambda wake: _ResumedResults(topic, feed, project_id, wake, name, last_id)

    async def send(
        self,
        stream: "_EventStream",
        send: Callable[[bytes], Any],
    ) -> None:
        """Send messages as long as the client may have them; raises why it may not any more."""
        woken = asyncio.Event()
        with self._places.member(stream.project_id):
            subscription = stream.subscribe(woken.set)
            try:
                await _begin(subscription, stream.topic)
                await send(b"")
                woken.set()
                await self._follow(stream, subscription, woken, send)
            finally:
                subscription.end()

    async def _follow(
        self,
        stream: "_EventStream",
        subscription: Subscription,
        woken: asyncio.Event,
        send: Callable[[bytes], Any],
    ) -> None:
        quiet_since = time.monotonic()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_S):
                    await woken.wait()
            stream.check()
            woken.clear()
            message = subscription.message()
            if message is not None:
                body = msgspec.json.encode(message)
                await send(_event(stream.topic, body, subscription.message_id))
                self._telemetry.live_sent(stream.topic, message.get("dropped", 0))
            elif time.monotonic() - quiet_since >= HEARTBEAT_S:
                await send(b":\n\n")
            else:
                await asyncio.sleep(TICK_S)
                continue
            quiet_since = time.monotonic()
            await asyncio.sleep(TICK_S)

    async def put(self, send: Send, body: bytes, *, more: bool = True) -> None:
        """Send a part of the body; raises `SlowReader` if the client does not read."""
        message = {"type": "http.response.body", "body": body, "more_body": more}
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await send(message)
        except TimeoutError:
            raise SlowReader(f"nothing was read for {WRITE_TIMEOUT_S:g} s", 0) from None

    def refused(self, error: AvilaError) -> None:
        """Count a connection that was ended for an error."""
        self._telemetry.live_refused(error.code)


class _ResumedResults(ResultsSubscription):
    """Results with ids, for a reader who may have come before.

    Attributes:
        message_id: that of the last message; it stands for everything sent by then.
    """

    def __init__(
        self,
        name: str,
        feed: LiveResults[Any],
        project_id: str,
        wake: Wake,
        only: str | None,
        last_id: str,
    ) -> None:
        super().__init__(name, feed, project_id, wake, only)
        self.message_id = last_id
        self._digests: dict[str, tuple[bytes, bytes]] = {}
        self._is_first = True

    def message(self) -> dict[str, Any] | None:
        """Return the results that have changed since the last message, if any; first all."""
        message = super().message()
        if message is None and not self._is_first:
            return None
        is_first, self._is_first = self._is_first, False
        before, self.message_id = self.message_id, self._digest()
        if not is_first:
            return message
        if self.message_id == before:
            return None
        return {**(message or {self.name: []}), "deleted": [], "reset": True}

    def _digest(self) -> str:
        """Return what stands for all that was sent; only what has changed since is read."""
        digests = {}
        for name, state in self.sent.items():
            of, digest = self._digests.get(name, (b"", b""))
            if of is not state:
                digest = self._feed.digest(self._project_id, name, state)
            digests[name] = state, digest
        self._digests = digests
        whole = hashlib.blake2b(digest_size=12)
        for name, (_, digest) in sorted(digests.items()):
            whole.update(name.encode() + b" " + digest)
        return whole.hexdigest()


class _EventStream(Response):
    """The response of one connection."""

    def __init__(
        self,
        streams: EventStreams,
        request: Request,
        topic: str,
        project_id: str,
        check: Callable[[], None],
        subscribe: Callable[[Wake], Subscription],
    ) -> None:
        # Proxies neither keep nor hold back what is sent.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(media_type=MEDIA_TYPE, headers=headers)
        del self.headers["content-length"]
        self.topic = topic
        self.project_id = project_id
        self.check = check
        self.subscribe = subscribe
        self._streams = streams
        self._is_head = request.method == "HEAD"
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send messages until the client leaves, or may have no more."""
        sending = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            results = await asyncio.gather(sending, leaving, return_exceptions=True)
        match results[0]:
            case SlowReader() as error:
                # Returning before the end of the body makes the server close the connection.
                self._streams.refused(error)
                log.info("live_reader_too_slow", path=scope["path"])
            case AvilaError() as error:
                self._streams.refused(error)
                await self._end(scope, receive, send, error)
            case OSError() | asyncio.CancelledError() | None:
                pass
            case BaseException() as error:
                raise error

    async def _send(self, send: Send) -> None:
        if self._is_head:
            await self._begin(send)
            await self._streams.put(send, b"", more=False)
            return

        async def put(body: bytes) -> None:
            if not self._begun:
                await self._begin(send)
                body = b"retry: %d\n" % _RETRY_MS + body
            await self._streams.put(send, body)

        await self._streams.send(self, put)

    async def _begin(self, send: Send) -> None:
        self._begun = True
        head = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **head})

    async def _end(self, scope: Scope, receive: Receive, send: Send, error: AvilaError) -> None:
        """End the connection with an error: as an event, or in HTTP if nothing was sent."""
        if not self._begun:
            await error_response(error)(scope, receive, send)
            return
        with contextlib.suppress(SlowReader, OSError):
            await self._streams.put(send, _event("error", trouble(error), ""), more=False)


async def _begin(subscription: Subscription, topic: str) -> None:
    try:
        async with asyncio.timeout(BEGIN_TIMEOUT_S):
            await subscription.begin()
    except TimeoutError:
        raise BackOff(f"{topic} cannot be read from Kafka now: try again later", 1) from None


def _event(name: str, data: bytes, message_id: str) -> bytes:
    """Return an event. Line breaks between tokens, which senders may use, would end it early."""
    head = f"id: {message_id}\n" if message_id else ""
    return f"{head}event: {name}\ndata: ".encode() + data.translate(_SPACES) + b"\n\n"


def _check_accept(request: Request) -> None:
    accepted = request.headers.get("accept", "").split(",")
    if not any(one.split(";")[0].strip().lower() in _ACCEPTED for one in accepted):
        raise InvalidRequest(f"accepted is `{MEDIA_TYPE}`", "Accept")


def _read_sample(request: Request) -> float:
    sample = read_decimal(request, "sample")
    if sample is None:
        return 1
    if not 0 < sample <= 1:
        raise InvalidRequest("accepted is a share, above 0 and up to 1", "sample")
    return sample


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
