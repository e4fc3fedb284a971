"""The live results of a definition, in which those of the version before are while that counts."""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from services.query.views.catalog import D

L = TypeVar("L", bound=msgspec.Struct)


def encode_live(definition: D, previous: D | None, live: Callable[[D, L | None], L]) -> bytes:
    """Return the results of a definition in JSON.

    `live` makes them, given those of the previous version, which are None if that does not count.
    """
    before = None if previous is None else live(previous, None)
    return msgspec.json.encode(live(definition, before))
