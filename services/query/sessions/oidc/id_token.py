"""Check an ID token: who signed it, for whom, about which attempt, and until when.

joserfc checks the signature and authlib the claims (OpenID Connect Core, 3.1.3.7). Which algorithm
and which key are accepted is decided here: only public-key algorithms, so that neither `none` nor
an HMAC with the public key as its secret is, and only a key of the kind that the algorithm takes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import BadSignatureError, JoseError
from joserfc.jwk import JWKRegistry
from joserfc.util import urlsafe_b64decode

from services.query.sessions.oidc.failure import SignInFailed
from services.query.sessions.oidc.grants import Claims

# How far the provider's clock may be from ours.
CLOCK_SKEW_S: Final = 60
# The kind of key that each algorithm takes.
_ALGORITHMS: Final = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES384", "ES512"), "EC"),
    "EdDSA": "OKP",
}
_MAX_KEYS_TRIED: Final = 8
_MAX_SUBJECT_CHARS: Final = 255

# A JSON Web Key, whose members depend on its kind.
Key = Mapping[str, Any]


class Header(msgspec.Struct, frozen=True):
    """What the header of a token says of its signature; anybody can write that."""

    alg: str
    kid: str | None = None


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What a token must say: who issued it, for which client, and in which attempt."""

    issuer: str
    client_id: str
    nonce: str
    access_token: str


_header = msgspec.json.Decoder(Header)


def read_header(token: str) -> Header:
    """Return the header of a token; raises `SignInFailed` if it is not accepted."""
    try:
        header = _header.decode(urlsafe_b64decode(token.partition(".")[0].encode()))
    except (ValueError, msgspec.DecodeError) as error:
        raise SignInFailed("untrusted", f"the ID token is not one: {error}") from None
    if header.alg not in _ALGORITHMS:
        raise SignInFailed(
            "untrusted",
            f"the ID token is signed with {header.alg!r:.40}; accepted are "
            f"{', '.join(_ALGORITHMS)}",
        )
    return header


def keys_for(header: Header, keys: Sequence[Key]) -> list[Key]:
    """Return the keys that may have signed a token with this header."""
    return [
        key
        for key in keys
        if key.get("kty") == _ALGORITHMS[header.alg]
        and (header.kid is None or key.get("kid") == header.kid)
        and key.get("use", "sig") == "sig"
        and key.get("alg", header.alg) == header.alg
    ][:_MAX_KEYS_TRIED]


def check_token(
    token: str, header: Header, keys: Sequence[Key], expected: Expected, now_s: int
) -> Claims:
    """Return the claims of a token that one of the keys has signed.

    Raises:
        SignInFailed: none has, or a claim is not as expected.
    """
    signed = _signed(token, header, keys)
    claims = CodeIDToken(
        signed.claims,
        signed.header,
        options={
            "iss": {"essential": True, "value": expected.issuer},
            "aud": {"essential": True, "value": expected.client_id},
        },
        params={
            "nonce": expected.nonce,
            "client_id": expected.client_id,
            "access_token": expected.access_token,
        },
    )
    try:
        claims.validate(now=now_s, leeway=CLOCK_SKEW_S)
    except (JoseError, ValueError, TypeError) as error:
        raise SignInFailed("untrusted", f"the ID token is not accepted: {error}") from None
    if not 0 < len(claims["sub"]) <= _MAX_SUBJECT_CHARS:
        raise SignInFailed("untrusted", "the ID token names no account")
    return dict(claims)


def _signed(token: str, header: Header, keys: Sequence[Key]) -> jwt.Token:
    why = "no key of the provider is of the token's kind and id"
    for key in keys:
        try:
            return jwt.decode(token, JWKRegistry.import_key(dict(key)), [header.alg])
        except BadSignatureError:
            why = "its signature is not the provider's"
        except (JoseError, ValueError, TypeError, KeyError) as error:
            why = f"it cannot be checked with a key of the provider: {error}"
    raise SignInFailed("untrusted", f"the ID token is not accepted: {why}")
