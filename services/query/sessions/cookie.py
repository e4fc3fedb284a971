"""The cookie with a session's secret, and the proof that a request comes from our own page.

The cookie is `HttpOnly`, `Secure` and `SameSite=Strict`, and its prefix `__Host-` binds it to this
host. Browsers keep such a cookie over https, and over http at `localhost` or a loopback address.

Browsers add a cookie to requests of any page, so one is accepted only from our own: `Origin` must
name the host that is asked, encrypted if the request was, and where reading has no `Origin`,
`Sec-Fetch-Site` must not name another site. Other programs need no session: they send a query
token.
"""

from typing import Final

from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from schemas.errors import Forbidden

NAME: Final = "__Host-avila"
_OWN_PAGE: Final = ("same-origin", "none")
_SCHEMES: Final = ("http", "https")
# What a proxy says of a request that came to it encrypted.
_ENCRYPTED: Final = ("https", "wss")


def secret_of(headers: Headers) -> str:
    """Return the secret of the request's session; "" if it has none."""
    return cookie_parser("; ".join(headers.getlist("cookie"))).get(NAME, "")


def set_cookie(secret: str, seconds: int) -> str:
    """Return the `Set-Cookie` header for a session that lasts `seconds`; 0 removes the cookie."""
    return f"{NAME}={secret}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict"


def check_own_page(headers: Headers, *, changing: bool) -> None:
    """Return if a request with a cookie comes from our own page.

    `changing` requests, and WebSockets, must say so in `Origin`, as all browsers do.

    Raises:
        Forbidden: it comes from another page, or nothing says that it does not.
    """
    origin = headers.get("origin")
    if origin is None:
        own = not changing and headers.get("sec-fetch-site", "none") in _OWN_PAGE
    else:
        own = _is_own(origin, headers)
    if not own:
        raise Forbidden(
            "a session is accepted only from the page of this address; programs send "
            "`Authorization: Bearer aqt_…`"
        )


def _is_own(origin: str, headers: Headers) -> bool:
    """Return whether an `Origin` is the address that a request was sent to."""
    scheme, separator, host = origin.lower().partition("://")
    if not separator or scheme not in _SCHEMES or host != headers.get("host", "").lower() != "":
        return False
    # A page that was read without encryption must not act on the encrypted one of that host.
    forwarded = headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    return scheme == "https" or forwarded not in _ENCRYPTED
