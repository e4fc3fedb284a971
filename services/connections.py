"""HTTP connections as all services have them: uvicorn's, and what nobody else bounds is bounded.

uvicorn leaves it to whoever is connected how long they take for the head of a request, from its
first byte to the empty line, and how large it is; and how long for the rest of a body that was
answered before it had all come, which is read and thrown away.
"""

import asyncio
from http import HTTPStatus
from typing import Any, Final

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.errors import ErrorBody, ErrorDetail

MAX_HEAD_BYTES: Final = 65_536
HEAD_TIMEOUT_S: Final = 30.0
# An extension of ASGI: in the scope of a request whose body is here already.
WHOLE_BODY: Final = "avila.whole_body"


class Connection(HttpToolsProtocol):
    """Given to uvicorn as `http`; closes itself if no request has come, or half of one, in time.

    The rest of a body that is answered already has as long as a head has. A head may be larger
    than it may be by what came in one piece with its end.
    """

    most_head_bytes = MAX_HEAD_BYTES
    head_within_s = HEAD_TIMEOUT_S
    _deadline: asyncio.TimerHandle | None = None  # while a head or the rest of a body is awaited
    _head_bytes = 0
    _head_is_next = True  # not a body's rest, or a WebSocket's frames

    def connection_made(self, transport: Any) -> None:
        """Await the first head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Await nothing more."""
        self._await_nothing()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        """It is whole; what follows is the body, which has limits of its own."""
        self._await_nothing()
        self._head_is_next = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """So is the body; often before the application is called."""
        self.scope["extensions"] = {WHOLE_BODY: {}}
        self._await_nothing()
        self._head_is_next = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The request is answered, whether all of it has come or not."""
        super().on_response_complete()
        is_answered = self.cycle.response_complete  # not so if another request was waiting
        if is_answered and not self._head_is_next and not self.transport.is_closing():
            self._await()

    def handle_websocket_upgrade(self) -> None:
        """From here on the connection is another protocol's."""
        super().handle_websocket_upgrade()
        self._head_is_next = False

    def data_received(self, data: bytes) -> None:
        """Read on, unless it is too much."""
        super().data_received(data)
        if self.transport.is_closing() or not self._head_is_next:
            return
        if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._await_head()  # what came is the space before one
        if self._deadline is not None:
            self._head_bytes += len(data)
            if self._head_bytes > self.most_head_bytes:
                self._refuse()

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._await()

    def _await(self) -> None:
        self._await_nothing()
        self._deadline = self.loop.call_later(self.head_within_s, self.timeout_keep_alive_handler)

    def _await_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self) -> None:
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        detail = ErrorDetail(
            "too_large",
            f"the head of the request is larger; accepted are {self.most_head_bytes} bytes "
            "(max_head_bytes)",
        )
        body = msgspec.json.encode(ErrorBody(detail))
        self.transport.write(
            f"HTTP/1.1 {status} {status.phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            + body
        )
        self.transport.close()


def connections(most_head_bytes: int, head_within_s: float) -> type[Connection]:
    """Connections with other bounds."""
    return type(
        "Connection",
        (Connection,),
        {"most_head_bytes": most_head_bytes, "head_within_s": head_within_s},
    )
