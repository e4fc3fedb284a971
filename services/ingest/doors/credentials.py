"""The write key in a request's headers, as clients of all kinds put it there."""

import base64
import binascii
from collections.abc import Mapping

from schemas.errors import Unauthorized


def key_in(headers: Mapping[bytes, bytes]) -> str:
    """Return the write key in the `Authorization` header, "" if there is none.

    It is what follows `Bearer`, or the user of `Basic`, whose password is not looked at; a user
    without the colon before the password is understood too, as some libraries send it.

    Raises:
        Unauthorized: the header is there, and cannot be read.
    """
    header = headers.get(b"authorization")
    if header is None:
        return ""
    scheme, _, given = header.strip().partition(b" ")
    given = given.strip()
    match scheme.lower():
        case b"bearer":
            return given.decode("latin-1")
        case b"basic":
            try:
                user, _, _ = base64.b64decode(given, validate=True).partition(b":")
            except binascii.Error as error:
                raise Unauthorized(f"Authorization: not Base64: {error}") from None
            return user.decode("latin-1")
        case _:
            raise Unauthorized("Authorization: accepted are `Bearer` and `Basic`")
