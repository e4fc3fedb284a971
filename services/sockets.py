"""WebSockets of both services: JSON in text, bounded in both directions.

uvicorn implements the protocol (`Protocol`, passed to it as `ws`), without compression, so that the
size of a message is known before it is read. A `Socket` is one connection.

Connections are closed with these codes, each with a reason in words:

    1008  a message or the credential was refused, or no message came: fix it, then connect again
    1009  a message is too large, or in too many frames
    1011  an internal error, or the peer does not answer pings
    1012  the service is stopping: connect again
    1013  the service is at a limit, or the peer does not read: connect again later

Ingest uses no cookies; the query service accepts one only from its own page, by the `Origin`. So a
page of another origin can do only what its credential allows.
"""

import asyncio
import contextlib
import socket as sockets
from collections.abc import Iterable
from typing import Final, TypeAlias

import msgspec
from starlette.types import Message, Receive, Scope, Send
from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import CloseCode, Frame

from schemas.errors import AvilaError, BackOff, Unavailable
from services.errors import ErrorDetail, describe
from services.listening import client_of

# The id that a sender has given to a message.
MessageId: TypeAlias = str | int | None

_MAX_FRAMES: Final = 1_024
_READ_BYTES: Final = 4_096
_MAX_REASON_BYTES: Final = 123
# The kernel's send buffer (which it doubles) is small, as what it holds can only grow stale.
_KERNEL_BUFFER_BYTES: Final = 65_536


class Gone(Exception):
    """The peer has disconnected; nobody waits for an answer."""


class SlowReader(BackOff):
    """Read faster: a message was not read in time."""

    code = "slow_reader"


class Trouble(msgspec.Struct, frozen=True, omit_defaults=True):
    """The message that reports an error.

    With an `id` (null if the sender gave none) it answers one message. Without, the connection
    closes after it. The sender may try again after `retry_after_s` seconds.
    """

    error: ErrorDetail
    id: MessageId | msgspec.UnsetType = msgspec.UNSET
    retry_after_s: float = 0


def trouble(error: AvilaError, message_id: MessageId | msgspec.UnsetType = msgspec.UNSET) -> bytes:
    """Return the message that reports `error`, in answer to the message `message_id` if given."""
    after = error.retry_after if isinstance(error, BackOff) else 0
    return msgspec.json.encode(Trouble(describe(error), message_id, after))


def close_code(error: AvilaError) -> CloseCode:
    """Return the code to close a connection with after `error`."""
    later = isinstance(error, BackOff | Unavailable)
    return CloseCode.TRY_AGAIN_LATER if later else CloseCode.POLICY_VIOLATION


class Socket:
    """One connection, on ASGI. One task may receive while others send.

    All methods raise `Gone` once the peer has disconnected. Those that send raise `SlowReader` if
    the peer does not read for `write_timeout_s`.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, write_timeout_s: float) -> None:
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.client = client_of(scope)
        self.accepted = False
        self._receive = receive
        self._send = send
        self._write_timeout_s = write_timeout_s

    async def accept(self) -> None:
        """Accept the connection."""
        await self._receive()  # `websocket.connect`, and nothing else
        await self._put({"type": "websocket.accept"})
        self.accepted = True

    async def deny(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """Answer over HTTP instead of accepting the connection."""
        start = {"type": "websocket.http.response.start", "status": status, "headers": headers}
        await self._put(start)
        await self._put({"type": "websocket.http.response.body", "body": body})

    async def receive(self) -> bytes:
        """Return the next message, text or binary."""
        message = await self._receive()
        if message["type"] != "websocket.receive":
            raise Gone
        text: str | None = message.get("text")
        body: bytes = message.get("bytes") or b""
        return body if text is None else text.encode()

    async def send(self, body: bytes) -> None:
        """Send `body` as text; waits while the peer does not read."""
        await self._put({"type": "websocket.send", "text": body.decode()})

    async def close(self, code: int, reason: str) -> None:
        """Close the connection unless the peer has left; does not wait."""
        text = reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore")
        with contextlib.suppress(Gone, SlowReader):
            await self._put({"type": "websocket.close", "code": int(code), "reason": text})

    async def _put(self, message: Message) -> None:
        try:
            async with asyncio.timeout(self._write_timeout_s):
                await self._send(message)
        except TimeoutError:
            raise SlowReader(
                f"nothing was read for {self._write_timeout_s:g} s: connect again", 0
            ) from None
        except (OSError, RuntimeError):
            # RuntimeError: uvicorn has already closed the connection.
            raise Gone from None


class Protocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, with bounds that uvicorn lacks."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bound the kernel's send buffer."""
        super().connection_made(transport)
        line = transport.get_extra_info("socket")
        line.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, _KERNEL_BUFFER_BYTES)
        self._unread = bytearray()
        self._pong = b""

    def data_received(self, data: bytes) -> None:
        """Keep data as bytes until the application reads: messages may take 30 times as much."""
        self._unread += data
        self._read_on()

    async def receive(self) -> ASGIReceiveEvent:
        """Return the next message, and parse another one if there is any."""
        message = await super().receive()
        self._read_on()
        return message

    def _read_on(self) -> None:
        while self._unread and not self.read_paused and not self.transport.is_closing():
            piece = bytes(self._unread[:_READ_BYTES])
            del self._unread[:_READ_BYTES]
            super().data_received(piece)

    def handle_text(self, event: Frame) -> None:
        """Pass text on as bytes: readers of the JSON report what is not UTF-8."""
        self.handle_bytes(event)

    def handle_cont(self, event: Frame) -> None:
        """Refuse a message in very many frames, which would take far more memory than its bytes."""
        if len(self.frames) < _MAX_FRAMES:
            super().handle_cont(event)
        elif not self.close_sent:
            self.conn.fail(CloseCode.MESSAGE_TOO_BIG, f"more than {_MAX_FRAMES} frames")
            self.handle_parser_exception()

    def handle_ping(self) -> None:
        """Answer now; while the peer does not read, keep the latest pong, as RFC 6455 allows."""
        pong = b"".join(self.conn.data_to_send())
        if self.writable.is_set() and not self.close_sent:
            self.transport.write(pong)
        else:
            self._pong = pong or self._pong

    def resume_writing(self) -> None:
        """Send what is waiting, with the latest pong."""
        super().resume_writing()
        if self._pong and not self.close_sent and not self.transport.is_closing():
            self.transport.write(self._pong)
        self._pong = b""

    async def send(self, message: ASGISendEvent) -> None:
        """Send a message; a close does not wait for a peer that does not read."""
        if message["type"] == "websocket.close":
            self.writable.set()
            self.loop.call_later(self.close_timeout, self.transport.abort)
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete = True  # the request was answered: no error of the application
        self._read_on()  # after a close, up to the close of the peer

    def shutdown(self) -> None:
        """Close the connection, even if the peer has begun to."""
        try:
            super().shutdown()
        except InvalidState:
            self.transport.close()
