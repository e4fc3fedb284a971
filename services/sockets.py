"""WebSockets as both services have them: JSON in text, bounded both ways, and closed for a reason.

uvicorn speaks the protocol (`Protocol`, given to it as `ws`), without compression: what a frame
expands to is then known before it is read. A `Socket` is one connection.

Codes that a connection is closed with, each with a reason in words:

    1008  what was sent, or that nothing was, or the credential is refused: mend it, then connect
    1009  a message is too large, or in too many pieces
    1011  a defect of ours, or the other side does not answer pings
    1012  the service stops: connect again
    1013  no room, or what was sent was not read in time: connect again later

Neither service has cookies, so what a page of another origin may do is decided by what it shows.
"""

import asyncio
import contextlib
import socket as sockets
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import msgspec
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import CloseCode, Frame

from schemas.errors import AvilaError, BackOff, Unavailable
from services.errors import ErrorDetail, describe
from services.listening import client_of

# What a sender calls one of its messages.
MessageId: TypeAlias = str | int | None

_MAX_PIECES: Final = 1_024
_READ_BYTES: Final = 4_096
_MAX_REASON_BYTES: Final = 123
# What the kernel holds for a reader cannot be taken back or made newer: little (it doubles it).
_KERNEL_BUFFER_BYTES: Final = 65_536


class Gone(Exception):
    """The other side has left; nobody waits for an answer."""


class SlowReader(BackOff):
    """Read faster: what was sent was not taken in time."""

    code = "slow_reader"


class Trouble(msgspec.Struct, frozen=True, omit_defaults=True):
    """The message that says what went wrong.

    With an `id`, as its sender gave it (null if there was none), it answers one message; without,
    the connection is closed after it. After `retry_after_s` seconds the same may be tried again.
    """

    error: ErrorDetail
    id: MessageId | msgspec.UnsetType = msgspec.UNSET
    retry_after_s: float = 0


def trouble(error: AvilaError, of: MessageId | msgspec.UnsetType = msgspec.UNSET) -> bytes:
    """Return the message that tells what to do about `error`."""
    after = error.retry_after if isinstance(error, BackOff) else 0
    return msgspec.json.encode(Trouble(describe(error), of, after))


def close_code(error: AvilaError) -> CloseCode:
    """Return the code that a connection is closed with after `error`."""
    later = isinstance(error, BackOff | Unavailable)
    return CloseCode.TRY_AGAIN_LATER if later else CloseCode.POLICY_VIOLATION


class Socket:
    """One connection, on ASGI. One task may receive while others send.

    All raise `Gone` once the other side has left, and sending raises `SlowReader` if it waits for
    `write_timeout_s` for the other side to read.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, write_timeout_s: float) -> None:
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.client = client_of(scope)
        self.accepted = False
        self._receive = receive
        self._send = send
        self._write_timeout_s = write_timeout_s

    async def accept(self) -> None:
        """Take the connection."""
        await self._receive()  # `websocket.connect`, and nothing else
        await self._put({"type": "websocket.accept"})
        self.accepted = True

    async def deny(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """Answer in HTTP instead of taking the connection."""
        start = {"type": "websocket.http.response.start", "status": status, "headers": headers}
        await self._put(start)
        await self._put({"type": "websocket.http.response.body", "body": body})

    async def receive(self) -> bytes:
        """Return the next message, of either kind."""
        message = await self._receive()
        if message["type"] != "websocket.receive":
            raise Gone
        text: str | None = message.get("text")
        body: bytes = message.get("bytes") or b""
        return body if text is None else text.encode()

    async def send(self, body: bytes) -> None:
        """Send `body` as text; waits while the other side does not read."""
        await self._put({"type": "websocket.send", "text": body.decode()})

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye, if there is still somebody; does not wait."""
        said = reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore")
        with contextlib.suppress(Gone, SlowReader):
            await self._put({"type": "websocket.close", "code": int(code), "reason": said})

    async def _put(self, message: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(self._write_timeout_s):
                await self._send(message)
        except TimeoutError:
            raise SlowReader(
                f"nothing was read for {self._write_timeout_s:g} s: connect again", 0
            ) from None
        except (OSError, RuntimeError):
            # The latter: uvicorn has closed it already, for what came in.
            raise Gone from None


class Protocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol, but for what that leaves unbounded."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bound what the kernel takes for somebody who does not read."""
        super().connection_made(transport)
        line = transport.get_extra_info("socket")
        line.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, _KERNEL_BUFFER_BYTES)
        self._unread = bytearray()
        self._pong = b""

    def data_received(self, data: bytes) -> None:
        """Keep what came as bytes till it is asked for: as messages it may take 30 times more."""
        self._unread += data
        self._read_on()

    async def receive(self) -> Any:
        """Return the next message, and have one more ready if there is any."""
        message = await super().receive()
        self._read_on()
        return message

    def _read_on(self) -> None:
        while self._unread and not self.read_paused and not self.transport.is_closing():
            piece = bytes(self._unread[:_READ_BYTES])
            del self._unread[:_READ_BYTES]
            super().data_received(piece)

    def handle_text(self, event: Frame) -> None:
        """Leave it to those who read the JSON to say what is not UTF-8."""
        self.handle_bytes(event)

    def handle_cont(self, event: Frame) -> None:
        """Refuse a message in pieces that take far more memory than what is in them."""
        if len(self.frames) < _MAX_PIECES:
            super().handle_cont(event)
        elif not self.close_sent:
            self.conn.fail(CloseCode.MESSAGE_TOO_BIG, f"more than {_MAX_PIECES} pieces")
            self.handle_parser_exception()

    def handle_ping(self) -> None:
        """Answer now, or, to who does not read, later: the latest, as RFC 6455 allows."""
        pong = b"".join(self.conn.data_to_send())
        if self.writable.is_set() and not self.close_sent:
            self.transport.write(pong)
        else:
            self._pong = pong or self._pong

    def resume_writing(self) -> None:
        """Go on with what waits to be sent."""
        super().resume_writing()
        if self._pong and not self.close_sent and not self.transport.is_closing():
            self.transport.write(self._pong)
        self._pong = b""

    async def send(self, message: Any) -> None:
        """Have a goodbye not wait for somebody who does not read, nor the line stay open for it."""
        if message["type"] == "websocket.close":
            self.writable.set()
            self.loop.call_later(self.close_timeout, self.transport.abort)
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete = True  # it is answered: not a defect of the application
        self._read_on()  # after a goodbye, to that of the other side

    def shutdown(self) -> None:
        """Close the connection, also if the other side has begun to."""
        try:
            super().shutdown()
        except InvalidState:
            self.transport.close()
