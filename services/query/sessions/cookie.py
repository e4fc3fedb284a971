"""The cookie with a session's secret, and the proof that a request comes from our own page.

The cookie is `HttpOnly`, `Secure` and `SameSite=Strict`, and its prefix `__Host-` binds it to this
host. Browsers keep such a cookie over https, and over http at `localhost` or a loopback address.

Browsers add a cookie to requests of any page, so one is accepted only from our own: `Origin` must
name the host that is asked, and where reading has no `Origin`, `Sec-Fetch-Site` must not name
another site. Other programs need no session: they send a query token.
"""

from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from schemas.errors import Forbidden

NAME: Final = "__Host-avila"
_OWN_PAGE: Final = ("same-origin", "none")


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
        try:
            own = urlsplit(origin).netloc == headers.get("host", "").lower() != ""
        except ValueError:
            own = False
    if not own:
        raise Forbidden(
            "a session is accepted only from the page of this address; programs send "
            "`Authorization: Bearer aqt_…`"
        )
