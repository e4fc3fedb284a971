"""The endpoints of signing in at the provider: the way there, and the way back.

The way back ends at the page, whose address is fixed, so that nobody can be sent elsewhere. What
failed follows the `#`, in one word that the page has a sentence for; the log has the reason.

The session's cookie is `SameSite=Strict`. A browser does not send that with a navigation from the
provider, and need not: the document is the same for everybody, and what the page asks for itself
comes from our own site.
"""

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import structlog
from starlette.requests import Request
from starlette.responses import Response

from schemas.errors import NotFound, OverLimit
from services.listening import client_of
from services.query.http.params import now_ms
from services.query.sessions.attempts import Attempts
from services.query.sessions.cookie import set_cookie
from services.query.sessions.oidc.attempt import (
    LASTS_S,
    Attempt,
    new_attempt,
    seal,
    set_attempt,
    unseal,
)
from services.query.sessions.oidc.failure import SignInFailed
from services.query.sessions.oidc.grants import grants_of, name_of
from services.query.sessions.oidc.provider import Provider
from services.query.sessions.resource import Sessions

BEGIN_PATH: Final = "/session/begin"
# Groups and roles may change at the provider, which is asked again after this.
OIDC_SESSION_S: Final = 12 * 3_600
_OF_PROVIDER: Final = ("provider_away", "provider_wrong")
_MAX_USED: Final = 10_000
_MAX_CODE_CHARS: Final = 4_096
_MAX_WORD_CHARS: Final = 60

log = structlog.get_logger(__name__)


class OidcSignIn:
    """The endpoints; `provider` is None if there is none. `clock` gives ms since 1970."""

    def __init__(
        self,
        provider: Provider | None,
        sessions: Sessions,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._provider = provider
        self._sessions = sessions
        self._clock = clock
        self._attempts = Attempts()
        self._used: OrderedDict[str, int] = OrderedDict()

    async def close(self) -> None:
        """Close the connections to the provider."""
        if self._provider is not None:
            await self._provider.close()

    async def begin(self, request: Request) -> Response:
        """Send the browser to the provider, with an attempt in a cookie."""
        provider = self._required()
        attempt = new_attempt(self._clock() // 1_000)
        try:
            address = await provider.address_for(attempt)
        except SignInFailed as failed:
            return self._failed(failed, request)
        return _redirect(address, set_attempt(seal(attempt, provider.settings.client_secret)))

    async def end(self, request: Request) -> Response:
        """Begin a session for whom the provider sends back, and send the browser to the page."""
        provider = self._required()
        try:
            attempt = self._attempt(request, provider)
            claims = await provider.claims(_code(request, provider), attempt)
            grants = grants_of(claims, provider.settings.claim, provider.settings.roles)
        except SignInFailed as failed:
            return self._failed(failed, request)
        account = f"{provider.settings.issuer}\n{claims['sub']}"
        secret, _ = await self._sessions.begin(
            request,
            project_id=grants[0].project_id,
            token=f"oidc-{hashlib.sha256(account.encode()).hexdigest()[:32]}",
            expires_at=self._clock() + OIDC_SESSION_S * 1_000,
            user=name_of(claims),
            grants=grants,
        )
        return _redirect("/", set_attempt(""), set_cookie(secret, OIDC_SESSION_S))

    def _required(self) -> Provider:
        if self._provider is None:
            raise NotFound("no provider is set to sign in at: set AVILA_OIDC_ISSUER")
        return self._provider

    def _attempt(self, request: Request, provider: Provider) -> Attempt:
        """Return the attempt that this browser began, which ends with this request."""
        now = self._clock() // 1_000
        attempt = unseal(request.headers, provider.settings.client_secret, now)
        state = _one(request, "state")
        if not hmac.compare_digest(state.encode(), attempt.state.encode()):
            raise SignInFailed("expired", "the state is that of another attempt")
        used = hashlib.sha256(state.encode()).hexdigest()
        while self._used and (
            len(self._used) >= _MAX_USED or next(iter(self._used.values())) < now - LASTS_S
        ):
            self._used.popitem(last=False)
        if used in self._used:
            raise SignInFailed("expired", "the attempt has been ended before")
        self._used[used] = now
        return attempt

    def _failed(self, failed: SignInFailed, request: Request) -> Response:
        word: str = failed.failure
        try:
            # A provider that is away or wrong is nobody's failed attempt.
            if failed.failure not in _OF_PROVIDER:
                self._attempts.failed(client_of(request.scope))
            log.warning("sign_in_failed", failure=word, reason=failed.reason)
        except OverLimit:
            word = "too_many"  # not logged: the failures before it were
        return _redirect(f"/#sign-in={word}", set_attempt(""))


def _code(request: Request, provider: Provider) -> str:
    """Return the code that the provider sends; raises `SignInFailed` if it sends none."""
    if error := _one(request, "error"):
        raise SignInFailed("refused", f"the provider says {error[:_MAX_WORD_CHARS]!r}")
    issuer = _one(request, "iss")
    if issuer and issuer != provider.settings.issuer:
        raise SignInFailed("untrusted", "the answer is that of another provider")
    code = _one(request, "code")
    if not 0 < len(code) <= _MAX_CODE_CHARS:
        raise SignInFailed("refused", "the provider has sent no code")
    return code


def _one(request: Request, name: str) -> str:
    """Return a parameter; providers add some of their own, but repeat none."""
    given = request.query_params.getlist(name)
    if len(given) > 1:
        raise SignInFailed("refused", f"the answer has {name!r} more than once")
    return given[0] if given else ""


def _redirect(address: str, *cookies: str) -> Response:
    answer = Response(
        status_code=303,
        headers={
            "Location": address,
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
        },
    )
    for cookie in cookies:
        answer.headers.append("Set-Cookie", cookie)
    return answer
