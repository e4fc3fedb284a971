"""Read the write key from a request's headers."""

import binascii
from collections.abc import Mapping

from schemas.errors import Unauthorized


def read_authorization(headers: Mapping[bytes, bytes]) -> tuple[str, str]:
    """Return the scheme in lower case and the key; two empty texts if there is no key.

    The key follows `Bearer`, or is the user of `Basic`, with or without the colon. The password is
    empty by convention, and ignored.
    """
    scheme, _, value = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    scheme, value = scheme.lower(), value.strip()
    if scheme == "bearer":
        return scheme, value
    if scheme == "basic":
        try:
            user = binascii.a2b_base64(value.encode() + b"==").decode()
        except (binascii.Error, UnicodeError):
            return "", ""
        return scheme, user.partition(":")[0]
    return "", ""


def key_in(headers: Mapping[bytes, bytes]) -> str:
    """Return the write key in the `Authorization` header, "" without the header.

    Raises:
        Unauthorized: the header has no readable key.
    """
    scheme, key = read_authorization(headers)
    if not scheme and b"authorization" in headers:
        raise Unauthorized(
            "Authorization: accepted are `Bearer <write key>`, and `Basic` with it as the user"
        )
    return key
