"""One attempt to sign in, kept in a cookie while its person is at the provider.

So every process of the service can end an attempt that another began, and no number of attempts
takes memory. The cookie is bound to this host by its prefix, `HttpOnly`, and `SameSite=Lax`: a
browser sends it when the provider sends the person back, which is a navigation from another site.
It is sealed, so that its time is ours. Who has it can only end an attempt of their own browser.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Final

import msgspec
from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from services.query.sessions.oidc.failure import SignInFailed

NAME: Final = "__Host-avila-sign-in"
LASTS_S: Final = 600
_MAX_CHARS: Final = 1_000
_PURPOSE: Final = b"avila: an attempt to sign in\n"


class Attempt(msgspec.Struct, frozen=True):
    """The secrets of an attempt, which was begun at the time `begun_at` (seconds since 1970)."""

    state: str
    nonce: str
    verifier: str
    begun_at: int


_decoder = msgspec.json.Decoder(Attempt)


def new_attempt(now_s: int) -> Attempt:
    """Return an attempt with secrets of its own, of 256 bits each."""
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    return Attempt(state, nonce, verifier, now_s)


def seal(attempt: Attempt, key: str) -> str:
    """Return the cookie's text for an attempt; `key` is a secret of the deployment."""
    text = base64.urlsafe_b64encode(msgspec.json.encode(attempt)).decode()
    return f"{text}.{_mac(text, key)}"


def unseal(headers: Headers, key: str, now_s: int) -> Attempt:
    """Return the attempt that a browser began.

    Raises:
        SignInFailed: it began none, or too long ago.
    """
    sealed = cookie_parser("; ".join(headers.getlist("cookie"))).get(NAME, "")
    text, _, mac = sealed.partition(".")
    if len(sealed) > _MAX_CHARS or not hmac.compare_digest(mac.encode(), _mac(text, key).encode()):
        raise SignInFailed("expired", "the browser has begun no attempt to sign in")
    try:
        attempt = _decoder.decode(base64.urlsafe_b64decode(text))
    except (binascii.Error, msgspec.DecodeError) as error:
        raise SignInFailed("expired", f"the attempt cannot be read: {error}") from None
    if not 0 <= now_s - attempt.begun_at <= LASTS_S:
        raise SignInFailed("expired", f"the attempt began more than {LASTS_S} s ago")
    return attempt


def set_attempt(sealed: str) -> str:
    """Return the `Set-Cookie` header that keeps an attempt; "" removes it."""
    age = LASTS_S if sealed else 0
    return f"{NAME}={sealed}; Path=/; Max-Age={age}; Secure; HttpOnly; SameSite=Lax"


def _mac(text: str, key: str) -> str:
    sealed = _PURPOSE + text.encode(errors="replace")
    return hmac.new(key.encode(), sealed, hashlib.sha256).hexdigest()
