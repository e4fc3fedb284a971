"""Reads the `Authorization` header as SDKs write it."""

import binascii
from collections.abc import Mapping


def read_authorization(headers: Mapping[bytes, bytes]) -> tuple[str, str]:
    """Return the scheme in small letters and the key; two empty texts if there is none.

    Of `Basic` the key is the user, with or without the colon; the password is empty by convention.
    """
    scheme, _, value = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    scheme, value = scheme.lower(), value.strip()
    if scheme == "bearer":
        return scheme, value
    if scheme == "basic":
        try:
            user = binascii.a2b_base64(value.encode() + b"==").decode()
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return scheme, user.partition(":")[0]
    return "", ""
