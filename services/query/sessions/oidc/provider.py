"""Ask the identity provider: what it is, its keys, and the ID token for a code.

Everything that it answers is bounded in bytes and time, and it is never followed to another address
than it has announced. What it is and its keys are kept for some minutes; keys are read again when a
token names one that is not among them. While it does not answer, it is asked again after seconds,
and whoever comes in between is told so at once.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from schemas.oidc import OidcProvider
from services.query.sessions.oidc.attempt import Attempt
from services.query.sessions.oidc.failure import SignInFailed
from services.query.sessions.oidc.grants import Claims
from services.query.sessions.oidc.id_token import (
    Expected,
    Key,
    check_token,
    keys_for,
    read_header,
)

CALLBACK_PATH: Final = "/session/callback"
TIMEOUT_S: Final = 5.0
MAX_ANSWER_BYTES: Final = 262_144
_MAX_CONNECTIONS: Final = 8
_KEPT_S: Final = 600.0
_RETRY_S: Final = 2.0

T = TypeVar("T")


class _Metadata(msgspec.Struct, frozen=True):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class _Keys(msgspec.Struct, frozen=True):
    keys: tuple[dict[str, Any], ...]


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str
    access_token: str = ""


class _Refusal(msgspec.Struct, frozen=True):
    error: str = ""


class Provider:
    """The provider of the settings; for one event loop.

    `clock` gives seconds since 1970. The methods that ask raise `SignInFailed` with the reason.
    """

    def __init__(
        self,
        settings: OidcProvider,
        clock: Callable[[], float] = time.time,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._timeout_s = timeout_s
        self._client = httpx.AsyncClient(
            timeout=timeout_s,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=_MAX_CONNECTIONS),
            # Not compressed, so that the size of an answer is known before it is unpacked.
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        )
        self._metadata = _Kept(self._read_metadata)
        self._keys = _Kept(self._read_keys)

    async def close(self) -> None:
        """Close the connections to the provider."""
        await self._client.aclose()

    async def address_for(self, attempt: Attempt) -> str:
        """Return the address at which a browser continues an attempt."""
        metadata = await self._metadata.get()
        address: str = prepare_grant_uri(
            metadata.authorization_endpoint,
            self.settings.client_id,
            "code",
            redirect_uri=self._callback,
            scope=self.settings.scopes,
            state=attempt.state,
            nonce=attempt.nonce,
            code_challenge=create_s256_code_challenge(attempt.verifier),
            code_challenge_method="S256",
        )
        return address

    async def claims(self, code: str, attempt: Attempt) -> Claims:
        """Exchange the code of an attempt, and return the claims of the account."""
        metadata = await self._metadata.get()
        tokens = await self._exchange(metadata, code, attempt.verifier)
        header = read_header(tokens.id_token)
        keys = keys_for(header, await self._keys.get())
        if not keys:  # the provider may have a new one
            keys = keys_for(header, await self._keys.get(again=True))
        expected = Expected(
            issuer=self.settings.issuer,
            client_id=self.settings.client_id,
            nonce=attempt.nonce,
            access_token=tokens.access_token,
        )
        return check_token(tokens.id_token, header, keys, expected, int(self._clock()))

    @property
    def _callback(self) -> str:
        return self.settings.page_url + CALLBACK_PATH

    async def _exchange(self, metadata: _Metadata, code: str, verifier: str) -> _Tokens:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._callback,
            "code_verifier": verifier,
        }
        account = self.settings.client_id, self.settings.client_secret
        methods = metadata.token_endpoint_auth_methods_supported
        basic = "client_secret_basic" in methods or "client_secret_post" not in methods
        if not basic:
            form |= dict(zip(("client_id", "client_secret"), account, strict=True))
        auth = httpx.BasicAuth(*map(_form_encoded, account)) if basic else None
        status, body = await self._ask("POST", metadata.token_endpoint, auth, form)
        if status != httpx.codes.OK:
            raise _refused(status, body)
        return _decode(body, _Tokens, "the token endpoint")

    async def _read_metadata(self) -> _Metadata:
        issuer = self.settings.issuer
        address = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        metadata = await self._read(address, _Metadata)
        if metadata.issuer != issuer:
            raise SignInFailed(
                "provider_wrong",
                f"{address} is of the issuer {metadata.issuer!r:.200}, and AVILA_OIDC_ISSUER is "
                f"{issuer!r}: accepted is the same text",
            )
        scheme = urlsplit(issuer).scheme
        for endpoint in (
            metadata.authorization_endpoint,
            metadata.token_endpoint,
            metadata.jwks_uri,
        ):
            if urlsplit(endpoint).scheme not in {"https", scheme}:
                raise SignInFailed(
                    "provider_wrong", f"{address} has {endpoint!r:.200}, which is not encrypted"
                )
        return metadata

    async def _read_keys(self) -> tuple[Key, ...]:
        metadata = await self._metadata.get()
        return (await self._read(metadata.jwks_uri, _Keys)).keys

    async def _read(self, address: str, kind: type[T]) -> T:
        status, body = await self._ask("GET", address)
        if status != httpx.codes.OK:
            away = status >= httpx.codes.INTERNAL_SERVER_ERROR
            raise SignInFailed(
                "provider_away" if away else "provider_wrong",
                f"{address} answers {status}; AVILA_OIDC_ISSUER must be the issuer of a provider "
                "with discovery",
            )
        return _decode(body, kind, address)

    async def _ask(
        self,
        method: str,
        address: str,
        auth: httpx.BasicAuth | None = None,
        form: dict[str, str] | None = None,
    ) -> tuple[int, bytes]:
        body = bytearray()
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream(method, address, auth=auth, data=form) as answer,
            ):
                async for piece in answer.aiter_raw():
                    body += piece
                    if len(body) > MAX_ANSWER_BYTES:
                        raise SignInFailed(
                            "provider_wrong",
                            f"{address} answers more than {MAX_ANSWER_BYTES} bytes",
                        )
                return answer.status_code, bytes(body)
        except TimeoutError:
            raise SignInFailed(
                "provider_away", f"{address} has not answered within {self._timeout_s:g} s"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise SignInFailed("provider_away", f"{address} does not answer: {error!r}") from None


class _Kept(Generic[T]):
    """An answer of the provider that is kept, and read by one of those who wait for it."""

    def __init__(self, read: Callable[[], Awaitable[T]]) -> None:
        self._read = read
        self._lock = asyncio.Lock()
        self._value: T | None = None
        self._failure: SignInFailed | None = None
        self._read_at = 0.0

    async def get(self, *, again: bool = False) -> T:
        """Return the answer; `again` if the one that is kept lacks something."""
        asked_at = time.monotonic()
        async with self._lock:
            age = time.monotonic() - self._read_at
            if self._failure is not None and age < _RETRY_S:
                raise self._failure.again()
            # Read since this was asked for: that is news to the caller, too.
            is_new = self._read_at >= asked_at
            if self._value is None or age >= _KEPT_S or (again and not is_new):
                await self._refresh()
            assert self._value is not None, "it was read, or reading has raised"
            return self._value

    async def _refresh(self) -> None:
        self._value, self._failure = None, None
        try:
            self._value = await self._read()
        except SignInFailed as failure:
            self._failure = failure
            raise
        finally:
            self._read_at = time.monotonic()


def _refused(status: int, body: bytes) -> SignInFailed:
    """Return why the token endpoint has no token for a code."""
    try:
        error = msgspec.json.decode(body, type=_Refusal).error
    except msgspec.DecodeError:
        error = ""
    reason = f"the token endpoint answers {status} {error!r:.60}"
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return SignInFailed("provider_away", reason)
    if error == "invalid_client":
        return SignInFailed(
            "provider_wrong",
            f"{reason}: AVILA_OIDC_CLIENT_ID and AVILA_OIDC_CLIENT_SECRET must be those of the "
            "client that the provider has for this page",
        )
    return SignInFailed("refused", reason)


def _form_encoded(text: str) -> str:
    """Return an id or a secret as RFC 6749, 2.3.1, has it in `Authorization`."""
    return str(httpx.QueryParams({"": text})).removeprefix("=")


def _decode(body: bytes, kind: type[T], where: str) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SignInFailed(
            "provider_wrong", f"{where} answers what OpenID Connect does not: {error}"
        ) from None
