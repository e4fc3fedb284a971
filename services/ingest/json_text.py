"""Read untrusted JSON: recognize canonical objects, and take apart what is not valid."""

import json
import re
from typing import Final

import msgspec
import numpy as np

from pipelines.columnar.canonical_json import is_canonical, scratch
from services.ingest.fast_path.split import MALFORMED, split

# What decoding untrusted text raises; RecursionError stands for too many levels.
DECODE_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

# Beyond these, an object that is split is no request of any format.
_MAX_MEMBERS: Final = 1_000

_key = re.compile(rb'\s*("(?:[^"\\]|\\.)*")\s*:\s*', re.DOTALL).match


def compile_kernels() -> None:
    """Compile what the functions below call; takes seconds once on a machine."""
    split_array(b"[]", 1)
    is_canonical_object(b"{}", 1)


def is_canonical_object(text: bytes, max_depth: int) -> bool:
    """Return whether `text`, which is valid JSON, is an object and surely in canonical form.

    False also for an object of more than `max_depth` levels.
    """
    data = np.frombuffer(text, np.uint8)
    return is_canonical(data, 0, len(text), len(text), max_depth, scratch())


def split_array(text: bytes, max_items: int) -> list[bytes] | None:
    """Return the items of an array, of which some may be invalid JSON; None if it cannot be split.

    If there are more than `max_items`, more than so many are returned.
    """
    return _split(text, max_items + 1) if text.lstrip()[:1] == b"[" else None


def split_object(text: bytes) -> dict[str, bytes] | None:
    """Return the members of an object, of which some values may be invalid JSON.

    Returns None if it cannot be split, or has too many members for a request.
    """
    members = _split(text, _MAX_MEMBERS) if text.lstrip()[:1] == b"{" else None
    if members is None or len(members) > _MAX_MEMBERS:
        return None
    values = {}
    for member in members:
        if (found := _key(member)) is None:
            return None
        try:
            name = json.loads(found[1], strict=False)
        except ValueError:
            return None
        values[name] = member[found.end() :]
    return values


def _split(text: bytes, max_items: int) -> list[bytes] | None:
    begins, ends = np.empty(max_items, np.int64), np.empty(max_items, np.int64)
    count = split(np.frombuffer(text, np.uint8), begins, ends)
    if count == MALFORMED:
        return None
    spans = zip(begins[:count].tolist(), ends[:count].tolist(), strict=True)
    return [text[begin:end] for begin, end in spans]
