"""The identity provider at which people sign in: its settings, checked and put together.

Only what can be seen without asking the provider is checked. A provider that does not answer, or
is another than its settings say, stops no process: signing in reports it.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from schemas.definitions import is_id
from schemas.errors import Misconfigured
from schemas.keys import ALL_PROJECTS, MAX_GRANTS, Grant, Scope

_ROLES: Final[dict[str, tuple[Scope, ...]]] = {
    "viewer": ("read",),
    "editor": ("read", "write"),
    "admin": ("read", "write"),
}
_ACCEPTED_ROLES: Final = (
    "AVILA_OIDC_ROLES must be a JSON object from values of the claim to `project:role`, such as "
    '{"avila-admins": "*:admin", "team-shop": "shop:editor"}; roles are viewer, editor and, of all '
    "projects (`*`), admin"
)
_LOOPBACKS: Final = ("localhost", "127.0.0.1", "::1")


class OidcProvider(msgspec.Struct, frozen=True, kw_only=True):
    """An identity provider that speaks OpenID Connect.

    `page_url` is the address of the page as browsers know it, without a slash at its end. `roles`
    has what each value of the claim `claim` grants. `name` is what people call the provider.
    """

    issuer: str
    client_id: str
    client_secret: str
    page_url: str
    scopes: str
    name: str
    claim: str
    roles: Mapping[str, Grant]

    def __repr__(self) -> str:
        return f"OidcProvider(issuer={self.issuer!r}, …)"


def read_oidc(
    *,
    issuer: str,
    client_id: str,
    client_secret: str,
    page_url: str,
    scopes: str,
    name: str,
    claim: str,
    roles: str,
) -> OidcProvider | None:
    """Return the provider that the settings `AVILA_OIDC_…` describe; None if they are unset.

    Raises:
        Misconfigured: one of them is missing or wrong; names it and says what is accepted.
    """
    needed = {
        "ISSUER": issuer,
        "CLIENT_ID": client_id,
        "CLIENT_SECRET": client_secret,
        "PAGE_URL": page_url,
        "ROLES": roles,
    }
    if not any(needed.values()):
        return None
    for key, value in needed.items():
        if not value.strip():
            others = ", ".join(f"AVILA_OIDC_{one}" for one in needed if one != key)
            raise Misconfigured(
                f"AVILA_OIDC_{key} is unset: to sign in at a provider needs it and {others}"
            )
    _check_url("AVILA_OIDC_ISSUER", issuer, "the provider's issuer, such as https://id.example")
    _check_url(
        "AVILA_OIDC_PAGE_URL", page_url, "the page's own address, such as https://avila.example"
    )
    if urlsplit(page_url).path not in {"", "/"}:
        raise Misconfigured(
            f"AVILA_OIDC_PAGE_URL is {page_url!r}; accepted is an address without a path, such as "
            "https://avila.example"
        )
    if "openid" not in scopes.split():
        raise Misconfigured(
            f"AVILA_OIDC_SCOPES is {scopes!r}; accepted are scopes separated by spaces, `openid` "
            "among them"
        )
    if not claim.strip():
        raise Misconfigured("AVILA_OIDC_CLAIM must be the name of a claim, such as `groups`")
    return OidcProvider(
        issuer=issuer,
        client_id=client_id,
        client_secret=str.__str__(client_secret),
        page_url=page_url.rstrip("/"),
        scopes=" ".join(scopes.split()),
        name=name.strip() or urlsplit(issuer).hostname or issuer,
        claim=claim,
        roles=read_roles(roles),
    )


def read_roles(text: str) -> Mapping[str, Grant]:
    """Return what each value of the claim grants, from the setting `AVILA_OIDC_ROLES`.

    Raises:
        Misconfigured: it is not accepted; says what is.
    """
    try:
        pairs = msgspec.json.decode(text, type=dict[str, str])
    except msgspec.DecodeError as error:
        raise Misconfigured(f"{_ACCEPTED_ROLES}: {error}") from None
    if not 0 < len(pairs) <= MAX_GRANTS:
        raise Misconfigured(f"{_ACCEPTED_ROLES}: it must have 1 to {MAX_GRANTS} of them")
    return {value: _read_grant(value, said) for value, said in pairs.items()}


def _read_grant(value: str, said: str) -> Grant:
    project, _, role = said.rpartition(":")
    if role not in _ROLES or not (project == ALL_PROJECTS or is_id(project)):
        raise Misconfigured(f"{_ACCEPTED_ROLES}; {value!r} has {said!r}")
    if role == "admin" and project != ALL_PROJECTS:
        raise Misconfigured(
            f"{_ACCEPTED_ROLES}; {value!r} has {said!r}: an administrator is one of all projects"
        )
    if project == ALL_PROJECTS and role == "editor":
        raise Misconfigured(
            f"{_ACCEPTED_ROLES}; {value!r} has {said!r}: who may write in all projects is an admin"
        )
    return Grant(project, _ROLES[role])


def _check_url(key: str, url: str, what: str) -> None:
    """Return if an address is encrypted, or one of this machine."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    encrypted = parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACKS)
    if not (host and encrypted) or parts.query or parts.fragment or parts.username is not None:
        raise Misconfigured(
            f"{key} is {url!r}; accepted is {what}, with https:// unless it is on this machine"
        )
