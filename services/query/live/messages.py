"""Decodes the messages that clients send on the live WebSocket."""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from schemas.errors import InvalidRequest, Unauthorized
from services.sockets import Socket

_TOKEN_TIMEOUT_S: Final = 10.0


class Command(msgspec.Struct, forbid_unknown_fields=True):
    """Start or end a subscription; `sample` is the share of events to send."""

    subscribe: str | None = None
    unsubscribe: str | None = None
    sample: float | None = None


class _Credential(msgspec.Struct, forbid_unknown_fields=True):
    token: str

    def __repr__(self) -> str:
        return "_Credential(…)"


def read_command(body: bytes, topics: Sequence[str]) -> Command:
    """Read a command about one of `topics`.

    Raises:
        InvalidRequest: names the field and what is accepted.
    """
    try:
        command = _command.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"the message cannot be read: {error}") from None
    if (command.subscribe is None) == (command.unsubscribe is None):
        raise InvalidRequest("a message has either `subscribe` or `unsubscribe`")
    for field in ("subscribe", "unsubscribe"):
        name = getattr(command, field)
        if name is not None and name not in topics:
            accepted = ", ".join(topics)
            raise InvalidRequest(f"{name!r:.60} is not known; accepted are {accepted}", field)
    if command.sample is not None:
        if command.subscribe != "events":
            raise InvalidRequest("is accepted for events only", "sample")
        if not 0 < command.sample <= 1:
            raise InvalidRequest("accepted is a share, above 0 and up to 1", "sample")
    return command


async def receive_token(socket: Socket) -> str:
    """Return the token, which the first message has.

    Raises:
        Unauthorized: it does not, or none came in time.
    """
    try:
        async with asyncio.timeout(_TOKEN_TIMEOUT_S):
            return _credential.decode(await socket.receive()).token
    except TimeoutError:
        raise Unauthorized(f"no token came within {_TOKEN_TIMEOUT_S:g} s") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unauthorized(
            f'send {{"token": "…"}} first, or the token in `Authorization`: {error}'
        ) from None


_credential = msgspec.json.Decoder(_Credential)
_command = msgspec.json.Decoder(Command)
