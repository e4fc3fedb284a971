"""The WebSocket at `/api/projects/{project}/live`: results and events as they come.

The query token, of scope `read`, is in the `Authorization` header or, as browsers cannot set one,
the first message is `{"token": "aqt_…"}`: neither an address nor a header, so no log has it. It is
looked at again for as long as the connection lasts.

    ◀ {"ready": {"project_id": "shop"}}
    ▶ {"subscribe": "funnels"}
    ◀ {"subscribed": "funnels"}
    ◀ {"funnels": [{"id": "buy", "version": 1, "totals": {"steps": […]}, …}], "deleted": []}
    ▶ {"subscribe": "metrics"}
    ◀ {"subscribed": "metrics"}
    ◀ {"metrics": [{"id": "sales", "version": 1, "now": {"value": 12.5, …}, …}], "deleted": []}
    ▶ {"subscribe": "events", "sample": 0.1}
    ◀ {"subscribed": "events"}
    ◀ {"events": [{"event": "purchase", "person_id": "u1", …}], "left_out": 9, "dropped": 0}
    ▶ {"unsubscribe": "events"}
    ◀ {"unsubscribed": "events"}

There is a message of a kind at most each `_TICK_S`, and none while there is nothing new:
- `funnels`: the figures, over all days, of each funnel that has changed since the last message; at
  first of all. Who reads slowly gets fewer messages, each with the newest figures.
- `metrics`: the same of metrics: their figures now, in the bucket that is not over and in the one
  before. They change as time passes, too, which is looked for every second or two.
- `events`: what the Tracker has taken from now on, as it stands on Kafka (its times in milliseconds
  since 1970); of that the share `sample` (up to 1, which it is if left out), evenly, and never more
  than `MAX_EVENTS_PER_S` a second for a project. `left_out` says how many were not shown for that.
  Who reads slowly loses the oldest of those that wait beyond `_MAX_BYTES`, which `dropped` counts.

What cannot be done is answered with an `error` whose `id` is null, and everything else goes on;
that for a kind which is not known lists those that are. Before the connection
is closed, with a code of `services.sockets`, an `error` says why: the token is not good any more,
or the other side took nothing for `WRITE_TIMEOUT_S` (1013, without words, as it would not read).
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
import structlog
from starlette.types import Receive, Scope, Send
from websockets.frames import CloseCode

from schemas.definitions import is_id
from schemas.errors import AvilaError, BackOff, InvalidRequest, Unauthorized
from services.errors import error_response
from services.keys.tokens import authorize
from services.keys.view import Keys
from services.query.http.params import now_ms
from services.query.http.telemetry import Metrics
from services.query.live.event_tail import Seen, Tail, evenly
from services.query.live.feed import LiveResults
from services.sockets import Gone, SlowReader, Socket, close_code, trouble
from services.topic_view import TopicView

MAX_CONNECTIONS: Final = 256
MAX_MESSAGE_BYTES: Final = 4_096

_TICK_S: Final = 0.2
_CHECK_S: Final = 0.5
_FIRST_TIMEOUT_S: Final = 10.0
_BEGIN_TIMEOUT_S: Final = 10.0
WRITE_TIMEOUT_S: Final = 10.0
_MAX_BYTES: Final = 1 << 20

log = structlog.get_logger(__name__)


class _Credential(msgspec.Struct, forbid_unknown_fields=True):
    token: str


class _Command(msgspec.Struct, forbid_unknown_fields=True):
    subscribe: str | None = None
    unsubscribe: str | None = None
    sample: float | None = None


class _Kind(Protocol):
    """What one connection gets of one kind, from `begin` to `end`."""

    async def begin(self) -> None:
        """Watch; `wake` is called when there is something to send."""

    def end(self) -> None:
        """Watch no more."""

    def message(self) -> dict[str, Any] | None:
        """Return what is to be sent now, if anything."""


_Wake = Callable[[], None]


class _Results:
    """Which results have changed since the last message: those of all definitions, at most."""

    def __init__(self, name: str, feed: LiveResults[Any], project_id: str, wake: _Wake) -> None:
        self._name = name
        self._feed = feed
        self._project_id = project_id
        self._wake = wake
        self._changed: set[str] = set()
        self._sent: dict[str, bytes] = {}

    async def begin(self) -> None:
        self._feed.watch(self._project_id, self._touch)

    def end(self) -> None:
        self._feed.leave(self._project_id, self._touch)

    def message(self) -> dict[str, Any] | None:
        self._feed.refresh()
        new: list[msgspec.Raw] = []
        deleted: list[str] = []
        for name in sorted(self._changed):
            state = self._feed.state(self._project_id, name)
            if state is None:
                self._sent.pop(name, None)
                deleted.append(name)
            elif self._sent.get(name) != state:
                self._sent[name] = state
                new.append(msgspec.Raw(state))
        self._changed.clear()
        return {self._name: new, "deleted": deleted} if new or deleted else None

    def _touch(self, name: str) -> None:
        self._changed.add(name)
        self._wake()


class _Events:
    """Events that wait to be sent: bounded in bytes, the oldest make room."""

    def __init__(self, tail: Tail, project_id: str, sample: float, wake: _Wake) -> None:
        self._tail = tail
        self._project_id = project_id
        self._sample = sample
        self._wake = wake
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._share = 0.0
        self.left_out = 0
        self.dropped = 0

    async def begin(self) -> None:
        await self._tail.watch(self._project_id, self._take)

    def end(self) -> None:
        self._tail.leave(self._project_id, self._take)

    def message(self) -> dict[str, Any] | None:
        if not (self._waiting or self.left_out or self.dropped):
            return None
        message = {
            "events": [msgspec.Raw(event) for event in self._waiting],
            "left_out": self.left_out,
            "dropped": self.dropped,
        }
        self._waiting.clear()
        self._bytes = self.left_out = self.dropped = 0
        return message

    def _take(self, seen: Seen) -> None:
        self._share += self._sample * seen.came
        count = min(int(self._share), len(seen.events))
        self._share %= 1
        self.left_out += seen.came - count
        for event in evenly(seen.events, count):
            self._waiting.append(event)
            self._bytes += len(event)
        while self._bytes > _MAX_BYTES:
            self._bytes -= len(self._waiting.popleft())
            self.dropped += 1
        self._wake()


KINDS: Final = ("events", "funnels", "metrics")


class Live:
    """The ASGI application of the route.

    `views` are those that are read from, without which nobody is let in. `results` has the results
    of each kind but events, by its name. `clock` gives milliseconds since 1970.
    """

    def __init__(
        self,
        keys: Keys,
        views: Sequence[TopicView[Any]],
        results: Mapping[str, LiveResults[Any]],
        tail: Tail,
        metrics: Metrics,
        *,
        clock: Callable[[], int] = now_ms,
        write_timeout_s: float = WRITE_TIMEOUT_S,
    ) -> None:
        self._keys = keys
        self._views = views
        self._results = results
        self._tail = tail
        self._metrics = metrics
        self._clock = clock
        self._write_timeout_s = write_timeout_s
        self._open = 0
        metrics.watch_live(lambda: self._open)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection to its end."""
        socket = Socket(scope, receive, send, self._write_timeout_s)
        self._open += 1
        try:
            await self._serve(socket, scope["path_params"]["project"])
        except Gone:
            pass
        except AvilaError as error:
            self._metrics.live_refused(error.code)
            await _refuse(socket, error)
        except Exception:  # whatever it is, this client gets an answer
            log.exception("live connection failed")
            await socket.close(CloseCode.INTERNAL_ERROR, "an error of ours; it has been logged")
        finally:
            self._open -= 1

    async def _serve(self, socket: Socket, project_id: str) -> None:
        if self._open > MAX_CONNECTIONS:
            raise BackOff(f"{MAX_CONNECTIONS} connections are open: try again later", 1)
        if not is_id(project_id):
            raise InvalidRequest("accepted are 1 to 64 letters, digits and `._-`", "project")
        for view in self._views:
            view.require()
        shown = socket.headers.get(b"authorization", b"").decode("latin-1")

        def check() -> None:
            authorize(self._keys, shown, "read", project_id, self._clock())

        if shown:
            check()
            await socket.accept()
        else:
            await socket.accept()
            shown = f"Bearer {await _first(socket)}"
            check()
        await socket.send(msgspec.json.encode({"ready": {"project_id": project_id}}))
        connection = _Connection(socket, check, self._metrics)
        try:
            await _first_of(self._obey(connection, project_id), connection.send_on())
        finally:
            connection.end()

    async def _obey(self, connection: "_Connection", project_id: str) -> None:
        """Do what is asked for, until the other side leaves."""
        while True:
            body = await connection.socket.receive()
            try:
                command = _read(body)
                if command.subscribe is not None:
                    kind = self._kind(command, project_id, connection.wake)
                    await connection.subscribe(command.subscribe, kind)
                else:
                    await connection.unsubscribe(_known(command.unsubscribe, "unsubscribe"))
            except SlowReader:
                raise
            except (InvalidRequest, BackOff) as error:
                await connection.socket.send(trouble(error, None))

    def _kind(self, command: _Command, project_id: str, wake: _Wake) -> _Kind:
        """The one place where what may be subscribed to is named."""
        name, sample = _known(command.subscribe, "subscribe"), command.sample
        if name != "events":
            if sample is not None:
                raise InvalidRequest("is for events", "sample")
            return _Results(name, self._results[name], project_id, wake)
        if sample is not None and not 0 < sample <= 1:
            raise InvalidRequest("accepted is a share, above 0 and up to 1", "sample")
        return _Events(self._tail, project_id, 1 if sample is None else sample, wake)


class _Connection:
    """What one connection has subscribed to."""

    def __init__(self, socket: Socket, check: Callable[[], None], metrics: Metrics) -> None:
        self.socket = socket
        self._check = check
        self._metrics = metrics
        self._kinds: dict[str, _Kind] = {}
        self._told: set[str] = set()
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Have it looked at soon what there is to send."""
        self._woken.set()

    async def subscribe(self, name: str, kind: _Kind) -> None:
        """Begin with `kind`, instead of what was there of its name.

        Raises:
            BackOff: what it is about cannot be seen now.
        """
        self._leave(name)
        self._kinds[name] = kind
        try:
            async with asyncio.timeout(_BEGIN_TIMEOUT_S):
                await kind.begin()
        except TimeoutError:
            self._leave(name)
            raise BackOff(f"{name} cannot be read from Kafka now: try again later", 1) from None
        await self.socket.send(msgspec.json.encode({"subscribed": name}))
        self._told.add(name)
        self.wake()

    async def unsubscribe(self, name: str) -> None:
        """End with what there is of that name, if anything."""
        self._leave(name)
        await self.socket.send(msgspec.json.encode({"unsubscribed": name}))

    def end(self) -> None:
        """End with all."""
        for name in tuple(self._kinds):
            self._leave(name)

    async def send_on(self) -> None:
        """Send what there is, a few times a second, as long as the token is good."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CHECK_S):
                    await self._woken.wait()
            self._check()
            self._woken.clear()
            for name in KINDS:
                # Looked up each time: the rest may be unsubscribed while one waits for its reader.
                message = self._kinds[name].message() if name in self._told else None
                if message is not None:
                    await self.socket.send(msgspec.json.encode(message))
                    self._metrics.live_sent(name, message.get("dropped", 0))
            await asyncio.sleep(_TICK_S)

    def _leave(self, name: str) -> None:
        self._told.discard(name)
        kind = self._kinds.pop(name, None)
        if kind is not None:
            kind.end()


def _known(name: str | None, field: str) -> str:
    if name not in KINDS:
        raise InvalidRequest(f"{name!r:.60} is not known; accepted are {', '.join(KINDS)}", field)
    return name


def _read(body: bytes) -> _Command:
    try:
        command = _command.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"the message cannot be read: {error}") from None
    if (command.subscribe is None) == (command.unsubscribe is None):
        raise InvalidRequest("a message says either `subscribe` or `unsubscribe`")
    return command


async def _first(socket: Socket) -> str:
    """The token, which is the first message."""
    try:
        async with asyncio.timeout(_FIRST_TIMEOUT_S):
            return _credential.decode(await socket.receive()).token
    except TimeoutError:
        raise Unauthorized(f"no token came within {_FIRST_TIMEOUT_S:g} s") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unauthorized(
            f'send {{"token": "…"}} first, or the token in `Authorization`: {error}'
        ) from None


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
    """Do all at once; return or raise as the first that ends does, the others being cancelled."""
    tasks = {asyncio.create_task(one) for one in doing}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


_credential = msgspec.json.Decoder(_Credential)
_command = msgspec.json.Decoder(_Command)
