"""HTTP connections of all services: uvicorn's, with bounds that uvicorn lacks.

uvicorn bounds neither the size of a request's head nor the time from its first byte to the empty
line; nor the time for the rest of a body that was answered early, which it reads and discards.

Clients may offer to upgrade a request to another protocol: Java's HttpClient and `curl --http2`
offer HTTP/2 (`Upgrade: h2c`). A server may decline and answer in HTTP/1.1 (RFC 9110, 7.8). The
parser, however, stops after the head of such a request, so its head is parsed again without the
offer.
"""

import asyncio
from http import HTTPStatus
from typing import Final, cast

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.errors import ErrorBody, ErrorDetail

MAX_HEAD_BYTES: Final = 65_536
HEAD_TIMEOUT_S: Final = 30.0
# Our ASGI extension: the scope of a request has it if all of its body has been received.
WHOLE_BODY: Final = "avila.whole_body"
# Headers of an offer to upgrade, which `Connection` lists as well.
_OFFER_HEADERS: Final = {b"upgrade", b"http2-settings"}


class Connection(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which also closes if a head, or the rest of a body, is late.

    A head may exceed `max_head_bytes` by what arrives in the same segment as its end.
    """

    max_head_bytes = MAX_HEAD_BYTES
    head_timeout_s = HEAD_TIMEOUT_S
    _deadline: asyncio.TimerHandle | None = None  # set while a head or the rest of a body is due
    _head_bytes = 0
    _expects_head = True  # false within a body, and on a WebSocket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Expect the first head."""
        super().connection_made(cast(asyncio.Transport, transport))
        self._start_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the deadline."""
        self._cancel_deadline()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Start to count the head."""
        super().on_message_begin()
        self._start_head()

    def on_headers_complete(self) -> None:
        """Stop counting: the body has limits of its own."""
        self._cancel_deadline()
        self._expects_head = False
        if not self._offers_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Mark the body as received, which often precedes the call of the application."""
        if self._offers_upgrade():
            return
        self.scope["extensions"] = {WHOLE_BODY: {}}
        self._cancel_deadline()
        self._expects_head = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Set a deadline for the rest of the body, if the answer came before its end."""
        super().on_response_complete()
        is_answered = self.cycle.response_complete  # false if another request was waiting
        if is_answered and not self._expects_head and not self.transport.is_closing():
            self._set_deadline()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection to the WebSocket protocol."""
        super().handle_websocket_upgrade()
        self._expects_head = False

    def data_received(self, data: bytes) -> None:
        """Parse `data`, and refuse the request if its head is too large."""
        self._parse(data)
        if self.transport.is_closing() or not self._expects_head:
            return
        if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._start_head()  # only white space before a head has come
        if self._deadline is not None:
            self._head_bytes += len(data)
            if self._head_bytes > self.max_head_bytes:
                self._refuse()

    def _parse(self, data: bytes) -> None:
        """Parse `data` as uvicorn does, but decline offers to upgrade to anything but WebSocket."""
        self._unset_keepalive_if_required()
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                if self._should_upgrade():
                    self.handle_websocket_upgrade()
                    return
                if not self._offers_upgrade():
                    return  # a CONNECT, which the application refuses
                data = self._head_without_offer() + data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn
            except httptools.HttpParserError:
                self.send_400_response("Invalid HTTP request received.")
                return

    def _offers_upgrade(self) -> bool:
        """Return whether the request offers to upgrade to a protocol that this server declines."""
        return (
            self.parser.should_upgrade()
            and not self._should_upgrade()
            and self.parser.get_method() != b"CONNECT"
        )

    def _head_without_offer(self) -> bytes:
        """Return the head of the current request without its offer to upgrade."""
        lines = [
            b"%b %b HTTP/%b"
            % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        ]
        for name, value in self.headers:
            if name == b"connection":
                options = [option.strip() for option in value.split(b",")]
                kept = [option for option in options if option.lower() not in _OFFER_HEADERS]
                lines.append(b"connection: " + b", ".join(kept))
            elif name not in _OFFER_HEADERS:
                lines.append(b"%b: %b" % (name, value))
        return b"\r\n".join((*lines, b"", b""))

    def _start_head(self) -> None:
        self._head_bytes = 0
        self._set_deadline()

    def _set_deadline(self) -> None:
        self._cancel_deadline()
        self._deadline = self.loop.call_later(self.head_timeout_s, self.timeout_keep_alive_handler)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self) -> None:
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        detail = ErrorDetail(
            "too_large",
            f"the head of the request is too large; the limit is {self.max_head_bytes} bytes "
            "(max_head_bytes)",
        )
        body = msgspec.json.encode(ErrorBody(detail))
        self.transport.write(
            f"HTTP/1.1 {status} {status.phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            + body
        )
        self.transport.close()


def connection_class(max_head_bytes: int, head_timeout_s: float) -> type[Connection]:
    """Return a `Connection` class with these bounds."""
    return type(
        "Connection",
        (Connection,),
        {"max_head_bytes": max_head_bytes, "head_timeout_s": head_timeout_s},
    )
