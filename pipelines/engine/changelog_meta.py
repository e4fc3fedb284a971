"""How far a partition's changelog has come: a record of the log itself.

Its fields keep on the log the names that the first version gave them.

A record that would be too large is cut into parts, for it names every definition. The first part
has the key that the whole record would have, and begins with `_IN_PARTS` and the number of parts:
JSON, which the whole record is, begins with a brace. All parts are written in one transaction.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from pipelines.engine.events import OffsetRange
from pipelines.engine.failed_instance import FailedInstance
from pipelines.engine.instance import AnyInstance
from pipelines.engine.partition import Partition

_LOGGED_NAMES: Final = {
    "recovery_offset": "redo_from",
    "clock_offset": "ahead",
    "clock_offsets": "ahead",
}


META_KEY: Final = b"\0meta"
_IN_PARTS: Final = b"\1"
_COUNT_BYTES: Final = 4
_MIN_PART: Final = 100


class BackfillMeta(msgspec.Struct, frozen=True, rename=_LOGGED_NAMES):
    """A definition that is catching up with history: `Backfill`, and its own recovery offset."""

    recovery_offset: int
    at: int
    clock_offset: int


class LogMeta(msgspec.Struct, frozen=True, rename=_LOGGED_NAMES):
    """How far the log has come. Definitions are named by `Key.name`.

    Attributes:
        recovery_offset: the first offset whose event may be missing from the logged rows of the
            definitions that are live.
        live: those definitions.
        backfills: the definitions that are catching up, or will when they can be read again.
        clock_offsets: `Partition.clock_offsets`.
        clocks: `PersonState.clock` of the definitions that have one.
        failed: definitions without rows: those that failed before they were live, and those that
            could not be evaluated when the worker started.
        superseding: the definitions for which an earlier version still counted.
        recounted: `OperatorInstance.recounted_to` of the definitions that were ever recounted.
        scores_position: `Partition.scores_position`.
    """

    recovery_offset: int
    live: list[str]
    backfills: dict[str, BackfillMeta]
    clock_offsets: dict[str, int]
    clocks: dict[str, int] = {}
    failed: list[str] = []
    superseding: list[str] = []
    recounted: dict[str, int] = {}
    scores_position: int | None = None

    def knows(self, name: str) -> bool:
        """Whether the log has met a definition."""
        return name in self.live or name in self.backfills or name in self.failed

    def unlogged(self, name: str, position: int) -> OffsetRange | None:
        """Return the events of a definition that the log may lack; None if it knows none.

        `position` is the position of the partition.
        """
        if name in self.live:
            return OffsetRange(self.recovery_offset, position)
        backfill = self.backfills.get(name)
        return OffsetRange(backfill.recovery_offset, backfill.at) if backfill else None

    def same_progress(self, other: "LogMeta | None") -> bool:
        """Whether both say the same of every definition; clocks may differ."""
        return other is not None and all(
            getattr(self, field) == getattr(other, field)
            for field in (
                "live",
                "backfills",
                "failed",
                "superseding",
                "recounted",
                "scores_position",
            )
        )


def meta_of(partition: Partition) -> LogMeta:
    """Return the record for the log of a partition as it is now."""
    meta = LogMeta(
        partition.recovery_offset,
        [],
        {},
        dict(partition.clock_offsets),
        scores_position=partition.scores_position,
    )
    for key, instance in partition.instances.items():
        if isinstance(instance, FailedInstance):
            if instance.counted:
                meta.failed.append(key.name)
        elif instance.backfill is None:
            meta.live.append(key.name)
        elif instance.keeps_rows:
            at, clock_offset = instance.backfill.at, instance.backfill.clock_offset
            recovery_offset = instance.recovery_offset(at)
            meta.backfills[key.name] = BackfillMeta(recovery_offset, at, clock_offset)
        else:
            meta.failed.append(key.name)
        if instance.has_previous:
            meta.superseding.append(key.name)
        if instance.recounted_to:
            meta.recounted[key.name] = instance.recounted_to
        clock = _clock_of(instance)
        if clock is not None:
            meta.clocks[key.name] = clock
    return meta


def _clock_of(instance: AnyInstance) -> int | None:
    with instance.failing_alone():
        return instance.state.clock
    return None


def cut_meta(meta: LogMeta, max_bytes: int) -> dict[bytes, bytes]:
    """Return the records of the log that hold `meta`, each of at most `max_bytes` without a key."""
    text = msgspec.json.encode(meta)
    if len(text) <= max_bytes:
        return {META_KEY: text}
    size = max(max_bytes, _MIN_PART) - len(_IN_PARTS) - _COUNT_BYTES
    parts = [text[begin : begin + size] for begin in range(0, len(text), size)]
    count = len(parts).to_bytes(_COUNT_BYTES, "little")
    return {
        _part_key(number): part if number else _IN_PARTS + count + part
        for number, part in enumerate(parts)
    }


def is_meta_key(key: bytes) -> bool:
    """Return whether a record of the log with this key holds `LogMeta` or a part of it."""
    return key.startswith(META_KEY)


def join_meta(records: Mapping[bytes, bytes]) -> LogMeta | None:
    """Return what the latest records that `cut_meta` made hold; None if there are none.

    Parts of a larger one that was written before are left out.
    """
    text = records.get(META_KEY)
    if text is None:
        return None
    if text.startswith(_IN_PARTS):
        begin = len(_IN_PARTS) + _COUNT_BYTES
        count = int.from_bytes(text[len(_IN_PARTS) : begin], "little")
        rest = (records[_part_key(number)] for number in range(1, count))
        text = b"".join((text[begin:], *rest))
    return msgspec.json.decode(text, type=LogMeta)


def _part_key(number: int) -> bytes:
    return META_KEY + (f"/{number}".encode() if number else b"")
