"""Cuts of a partition: where they end, how they are told apart, how a plan is persisted. All pure.

A plan stands in the metadata of the group's committed offset, which is where its cut starts. What
has no record (transaction markers, aborted records) is inside a cut like anything else: a cut ends
with a record, and below it everything is decided for good, so reading it again gives the same.
"""

import re
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple, cast

import numpy as np
from confluent_kafka import Message

from schemas.errors import Misconfigured

_TEXT: Final = re.compile(r"cut/1 last=(\d+) crc=([0-9a-f]{8})")


class Plan(NamedTuple):
    """A cut that was decided: it ends with the record at `last`."""

    last: int
    checksum: int

    @property
    def text(self) -> str:
        """What is committed as metadata."""
        return f"cut/1 last={self.last} crc={self.checksum:08x}"


def read_plan(text: str | None) -> Plan | None:
    """Read the metadata of a committed offset; none when no cut was planned there.

    Raises:
        Misconfigured: somebody else's text; going on could write rows twice.
    """
    if not text:
        return None
    match = _TEXT.fullmatch(text)
    if match is None:
        raise Misconfigured(
            f"the sink's group has an offset with the metadata {text!r}, which is no cut of this "
            "version: finish it with the version that wrote it, or reset the group's offsets"
        )
    return Plan(int(match[1]), int(match[2], 16))


def length(messages: Sequence[Message], plan: Plan | None, limit: int) -> int:
    """How many of a partition's next records make the next cut; 0 while they are not enough.

    A persisted plan is followed to its last record; otherwise it is as many as there are, up to
    `limit`.
    """
    if plan is None:
        return min(len(messages), limit)
    found = offsets(messages)
    return bisect_right(found, plan.last) if found and found[-1] >= plan.last else 0


def checksum(offsets: Sequence[int], values: Sequence[bytes | None]) -> int:
    """A CRC-32 of records: of where they stand and what they hold, and of nothing derived."""
    sizes = [-1 if value is None else len(value) for value in values]
    crc = zlib.crc32(np.array([offsets, sizes], "<i8").tobytes())
    return zlib.crc32(b"".join(value for value in values if value), crc)


def offsets(messages: Sequence[Message]) -> list[int]:
    """The offset of each record."""
    # Every record that was consumed has one, although its type allows for None.
    return cast(list[int], list(map(Message.offset, messages)))
