"""What the claims of an account grant, by the settings: pure functions."""

from collections.abc import Mapping
from typing import Any, Final

from schemas.keys import Grant, Scope
from services.query.sessions.oidc.failure import SignInFailed

_MAX_VALUES: Final = 2_000
_EMAIL: Final = "email"
_NAMES: Final = (_EMAIL, "preferred_username", "name", "sub")
_MAX_NAME_CHARS: Final = 200
_SCOPES: Final[tuple[Scope, ...]] = ("read", "write")

# The claims of an ID token, of which each provider has its own.
Claims = Mapping[str, Any]


def grants_of(claims: Claims, claim: str, roles: Mapping[str, Grant]) -> tuple[Grant, ...]:
    """Return what the values of a claim grant, one for each project.

    A claim's name with dots is the path of a nested one (`realm_access.roles`) where no claim has
    the whole name. An address of `email` counts only if the provider has verified it.

    Raises:
        SignInFailed: they grant nothing.
    """
    values = _values(claims, claim)
    if claim == _EMAIL and claims.get("email_verified") is not True:
        raise SignInFailed("no_access", "the provider has not verified the e-mail address")
    found: dict[str, set[Scope]] = {}
    for value in values:
        if grant := roles.get(value):
            found.setdefault(grant.project_id, set()).update(grant.scopes)
    if not found:
        said = f"{len(values)} values" if values else "no text"
        raise SignInFailed(
            "no_access",
            f"the claim {claim!r} of AVILA_OIDC_CLAIM has {said}, none of which is in "
            "AVILA_OIDC_ROLES",
        )
    return tuple(
        Grant(project, tuple(scope for scope in _SCOPES if scope in scopes))
        for project, scopes in sorted(found.items())
    )


def name_of(claims: Claims) -> str:
    """Return the name by which people know an account."""
    found = (claims.get(name) for name in _NAMES)
    named = next((one for one in found if isinstance(one, str) and one.strip()), "")
    return "".join(letter for letter in named if letter.isprintable())[:_MAX_NAME_CHARS]


def _values(claims: Claims, claim: str) -> list[str]:
    found: object = claims.get(claim)
    if claim not in claims:
        found = claims
        for part in claim.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    listed = found if isinstance(found, list) else [found]
    return [one for one in listed[:_MAX_VALUES] if isinstance(one, str)]
