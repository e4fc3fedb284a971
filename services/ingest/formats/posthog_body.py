"""Unwrap the bodies of PostHog's older format: JSON, compressed, in base64, in a form or a query.

The first bytes tell what a body is; `compression=…` in the address does not always tell the truth.
"""

import binascii
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from schemas.errors import InvalidRequest
from schemas.json_text import BYTE_ORDER_MARK
from services.ingest.encodings import (
    UnsupportedMedia,
    decompress,
    magic_encoding,
)
from services.ingest.formats import Request
from services.ingest.limits import TooLarge

_FORM: Final = "application/x-www-form-urlencoded"
# Compressed, then in base64, then perhaps both once more by a proxy.
_MAX_WRAPS: Final = 4
# Encodings that no first bytes reveal.
_WITHOUT_MAGIC: Final = {"br", "deflate"}
_PIECE_BYTES: Final = 1 << 16


def unwrap(request: Request, query: Mapping[str, list[str]]) -> bytes:
    """Return the JSON in a request, or whatever its innermost wrapping holds.

    Raises:
        UnsupportedMedia: the body is compressed with lz64.
        TooLarge, BackOff: the unwrapped body exceeds a limit.
        InvalidRequest: the body looks like gzip but is not.
    """
    if query.get("compression") == ["lz64"]:
        raise UnsupportedMedia(
            "lz64 is not supported; accepted are gzip, zstd, br, deflate and base64", "compression"
        )
    body = request.body
    if request.method == "GET":
        body = query.get("data", [""])[0].encode()
    elif body.startswith(b"data=") or (
        # curl says that it sends a form whatever it sends.
        request.content_type == _FORM and not body.startswith((b"{", b"["))
    ):
        body = _form_data(body)
    named = query.get("compression", [""])[0]
    for _ in range(_MAX_WRAPS):
        if encoding := magic_encoding(body):
            body = decompress(body, encoding, request.grow, request.limits)
            continue
        body = body.removeprefix(BYTE_ORDER_MARK)
        if (first := body[:64].lstrip()[:1]) in {b"{", b"["} or not first:
            break
        if named in _WITHOUT_MAGIC:
            encoding, named = named, ""
            try:
                body = decompress(body, encoding, request.grow, request.limits)
                continue
            except TooLarge:
                raise
            except InvalidRequest:
                pass  # the address does not tell the truth
        try:
            body = binascii.a2b_base64(body.replace(b" ", b"+") + b"==")
        except binascii.Error:
            break
    return body


def _form_data(body: bytes) -> bytes:
    """Return the field `data` of a form; anything but a form is returned unchanged."""
    start = 0 if body.startswith(b"data=") else body.find(b"&data=") + 1
    if start == 0 and not body.startswith(b"data="):
        return body
    end = body.find(b"&", start)
    text = body[start + len(b"data=") : len(body) if end < 0 else end].replace(b"+", b" ")
    # In pieces, because unquoting makes an object of each escape.
    pieces = []
    start = 0
    while start < len(text):
        end = start + _PIECE_BYTES
        if (escape := text.rfind(b"%", end - 2, end)) > 0:
            end = escape
        pieces.append(unquote_to_bytes(text[start:end]))
        start = end
    return b"".join(pieces)
