"""One HTTP request to a receiver: resolved once, sent to the checked address, never redirected."""

import asyncio
import contextlib
import email.utils
import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import httpx

from services.webhooks.addresses import Network, refused
from services.webhooks.resolve import resolve

TIMEOUT_S: Final = 15.0
_MAX_ANSWER_BYTES: Final = 4_096
_MAX_REASON_CHARS: Final = 200
_MAX_RETRY_AFTER_S: Final = 3_600
_REDIRECTS: Final = range(300, 400)


class Answer(NamedTuple):
    """What came of a request: a status (0 without an answer), and why it is no success."""

    status: int
    reason: str = ""
    retry_after_s: int = 0

    @property
    def ok(self) -> bool:
        """Whether the receiver has taken it."""
        return 200 <= self.status < 300


async def post(
    url: str, body: bytes, headers: Mapping[str, str], allowed: Sequence[Network]
) -> Answer:
    """Send a request, within 15 seconds in all; raises nothing that a receiver can cause."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await _post(httpx.URL(url), body, headers, allowed)
    except TimeoutError:
        return Answer(0, f"no answer within {TIMEOUT_S:.0f} s")
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        return Answer(0, _short(str(error) or type(error).__name__))


async def _post(
    url: httpx.URL, body: bytes, headers: Mapping[str, str], allowed: Sequence[Network]
) -> Answer:
    port = url.port or (443 if url.scheme == "https" else 80)
    host = _host(url)
    addresses = await resolve(host, port)
    if unreachable := refused(addresses, allowed):
        return Answer(
            0,
            f"{host} has the address {unreachable}, which is not public: "
            "AVILA_WEBHOOK_NETWORKS names the networks that are allowed",
        )
    failure: Exception = OSError(f"{host} has no address")
    for address in addresses:
        try:
            return await _send(url, address, body, headers)
        except httpx.ConnectError as error:
            failure = error
    raise failure


def _host(url: httpx.URL) -> str:
    """Return a host as it is written: decoded (IDNA 2008), it could be encoded as another one."""
    return url.raw_host.decode("ascii")


async def _send(url: httpx.URL, address: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Send a request to an address of the host of a URL; TLS is checked against the host's name."""
    sent = {
        **headers,
        "host": url.netloc.decode("ascii"),
        "content-type": "application/json",
        "user-agent": "Avila-Analytics",
    }
    # A connection of its own: one that is kept would be shared by all hosts of an address.
    async with (
        httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=TIMEOUT_S) as client,
        client.stream(
            "POST",
            url.copy_with(host=address),
            content=body,
            headers=sent,
            extensions={"sni_hostname": _host(url)},
        ) as answer,
    ):
        if answer.status_code in _REDIRECTS:
            return Answer(answer.status_code, "it redirects, which is not followed")
        if answer.is_success:
            return Answer(answer.status_code)
        text = await _beginning(answer)
        after = _retry_after_s(answer.headers.get("retry-after", ""))
        return Answer(answer.status_code, _short(text), after)


async def _beginning(answer: httpx.Response) -> str:
    """Return the beginning of an answer that is no success."""
    read = bytearray()
    with contextlib.suppress(httpx.HTTPError):
        async for chunk in answer.aiter_raw():
            read += chunk
            if len(read) >= _MAX_ANSWER_BYTES:
                break
    return bytes(read[:_MAX_ANSWER_BYTES]).decode("utf-8", "replace")


def _retry_after_s(text: str) -> int:
    """Return the seconds that a header asks to wait, at most an hour; 0 without one."""
    if text.isascii() and text.isdigit():
        return min(int(text[:9]), _MAX_RETRY_AFTER_S)
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        at = email.utils.parsedate_to_datetime(text).timestamp()
        return min(max(0, int(at - time.time())), _MAX_RETRY_AFTER_S)
    return 0


def _short(text: str) -> str:
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return line if len(line) <= _MAX_REASON_CHARS else f"{line[:_MAX_REASON_CHARS]}…"
