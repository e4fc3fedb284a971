"""Chunks of a partition: their end, their checksum, and their persisted plan. All of it is pure.

A plan is the metadata of the group's committed offset, which is the offset where the chunk begins.
A chunk ends with a committed record. All transactions before that record are decided, so reading
the chunk again gives the same records; offsets without a record (transaction markers, aborted
records) may lie within it.
"""

import re
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple, cast

import numpy as np
from confluent_kafka import Message

from schemas.errors import Misconfigured

# Committed offsets have this text, so it must not change: chunks were called cuts at first.
_TEXT: Final = re.compile(r"cut/1 last=(\d+) crc=([0-9a-f]{8})")


class Plan(NamedTuple):
    """The plan of a chunk: it ends with the record at the offset `last`."""

    last: int
    checksum: int

    @property
    def text(self) -> str:
        """The metadata of the committed offset."""
        return f"cut/1 last={self.last} crc={self.checksum:08x}"


def read_plan(text: str | None) -> Plan | None:
    """Read the metadata of a committed offset; None if no chunk was planned there.

    Raises:
        Misconfigured: the text is not a plan, so continuing could write rows twice.
    """
    if not text:
        return None
    match = _TEXT.fullmatch(text)
    if match is None:
        raise Misconfigured(
            f"the sink's group has an offset with the metadata {text!r}, which is not a plan of "
            "this version: run the version that wrote it, or reset the group's offsets"
        )
    return Plan(int(match[1]), int(match[2], 16))


def length(messages: Sequence[Message], plan: Plan | None, limit: int) -> int:
    """Return how many of the next records form the next chunk; 0 if there are too few.

    A chunk with a persisted plan ends with the plan's last record; any other has all records, but
    at most `limit`.
    """
    if plan is None:
        return min(len(messages), limit)
    found = offsets(messages)
    return bisect_right(found, plan.last) if found and found[-1] >= plan.last else 0


def checksum(offsets: Sequence[int], values: Sequence[bytes | None]) -> int:
    """Return a CRC-32 of records: of their offsets and values as they are on the topic."""
    sizes = [-1 if value is None else len(value) for value in values]
    crc = zlib.crc32(np.array([offsets, sizes], "<i8").tobytes())
    return zlib.crc32(b"".join(value for value in values if value), crc)


def offsets(messages: Sequence[Message]) -> list[int]:
    """Return the offset of each record."""
    # Every consumed record has one, although the type allows None.
    return cast(list[int], list(map(Message.offset, messages)))
