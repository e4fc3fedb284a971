"""Multipart forms: long parameters as fields, external data as files."""

import re
from collections.abc import Mapping
from typing import Final

from services.store.errors import Code, StoreError

_BOUNDARY: Final = re.compile(r'boundary="?([^";,]+)"?', re.IGNORECASE)
_NAME: Final = re.compile(rb'[; ]name="([^"]*)"', re.IGNORECASE)
_FILE_NAME: Final = re.compile(rb'[; ]filename="([^"]*)"', re.IGNORECASE)


def read_form(body: bytes, headers: Mapping[str, str]) -> tuple[dict[str, str], dict[str, bytes]]:
    """Return the form's fields, and its files by field name.

    Raises:
        StoreError: the body is not a form as its headers describe it.
    """
    boundary = _BOUNDARY.search(headers.get("content-type", ""))
    if boundary is None:
        raise StoreError(Code.BAD_ARGUMENTS, "The form's Content-Type names no boundary")
    fields: dict[str, str] = {}
    files: dict[str, bytes] = {}
    delimiter = b"\r\n--" + boundary[1].encode()
    preamble, *parts = (b"\r\n" + body).split(delimiter)
    if preamble.strip() or not parts or not parts[-1].startswith(b"--"):
        raise StoreError(Code.BAD_ARGUMENTS, "The form is cut short")
    for part in parts[:-1]:
        head, found, content = part.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if not found or name is None:
            raise StoreError(Code.BAD_ARGUMENTS, "A part of the form has no name")
        key = name[1].decode(errors="surrogateescape")
        if _FILE_NAME.search(head):
            files[key] = content
        else:
            fields[key] = content.decode(errors="surrogateescape")
    return fields, files
