"""Event ids: one UUID within its project, however often an event is sent and in which format."""

import os
import re
from typing import Final
from uuid import UUID, uuid5

# Never change it: retries of earlier events would count again.
_NAMESPACE: Final = UUID("6f1d0a52-3c0e-5b7e-9a41-0d9c7e4f2b18")

_is_canonical = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
_is_uuid = re.compile(r"[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}").fullmatch


def identify(text: str, project_id: str) -> tuple[str, bool]:
    """Return the UUID of the event id `text`, and whether it was derived.

    A UUID in any common spelling is its own. From other text a UUIDv5 of project and text is
    derived, so that the same text always has the same UUID.
    """
    if _is_canonical(text):
        return text, False
    if _is_uuid(text):
        return str(UUID(text)), False
    return str(uuid5(_NAMESPACE, f"{project_id}/{text}")), True


def mint() -> str:
    """Return a new random UUID (version 4)."""
    # Three times as fast as `str(uuid4())`.
    digits = f"{int.from_bytes(os.urandom(16)) & _RANDOM_BITS | _VERSION_BITS:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


_RANDOM_BITS: Final = (1 << 128) - 1 - (0xF << 76) - (0b11 << 62)
_VERSION_BITS: Final = (4 << 76) + (0b10 << 62)
