"""A definition as one partition runs it: its state, its aggregates, and how far they have come."""

import hashlib
from collections import deque
from typing import Any, Generic, NamedTuple, TypeAlias

import msgspec
import numpy as np
import structlog

from pipelines.columnar.jit import Int32s
from pipelines.engine.operator import NEVER, TOTAL, Aggregates, C, D, PersonState
from pipelines.matching.match import Key
from schemas.definitions import Definition

log = structlog.get_logger(__name__)


class Backfill(msgspec.Struct):
    """How far a definition has caught up with history.

    It holds the events below offset `at`; `ahead` is its project's event clock, as in
    `Partition.ahead`.
    """

    at: int = 0
    ahead: int = NEVER


class UnloggedRows(NamedTuple):
    """Rows that events from offset `since` on have touched, to be logged at `due` (ms)."""

    rows: Int32s
    since: int
    due: int


class OperatorInstance(Generic[D, C]):
    """A definition in one partition. Each operator derives one, with its own state and aggregates.

    A subclass sets `state` and `aggregates`, and annotates them with its own types.

    Attributes:
        key: names the definition's version.
        tag: names it in the changelog's records.
        since_ms: events before that time do not count.
        backfill: how far it has come in history; None as soon as it is live.
        unlogged: rows that wait to be logged, in the order in which they are due.
        late: how many events came too late to be counted.
        unpublished: periods whose record differs from what is published.
        live_since: the offset at which it became live.
        failed: why nothing more is counted; empty as long as it runs.
    """

    state: PersonState[C]
    aggregates: Aggregates[C]

    def __init__(self, definition: D) -> None:
        self.definition = definition
        self.key = key_of(definition)
        self.tag = _tag_of(self.key, definition)
        self.since_ms = definition.since_ms
        self.backfill: Backfill | None = None
        self.unlogged: deque[UnloggedRows] = deque()
        self.late = 0
        self.unpublished: set[int] = set()
        self.live_since: int | None = None
        self.failed = ""

    @property
    def live(self) -> bool:
        """Whether it counts events as they come."""
        return self.backfill is None and not self.failed

    def fail(self, error: Exception) -> None:
        """Stop counting, and publish why. What was counted stays; a new version begins empty."""
        self.failed = f"{type(error).__name__}: {error}"
        self.unlogged.clear()
        self.unpublished.add(TOTAL)
        log.error("definition failed", definition=self.key.name, exc_info=error)

    def recovery_offset(self, position: int) -> int:
        """Return the first offset whose event may be missing from what is logged.

        `position` is the offset of the next event that it will be given.
        """
        return self.unlogged[0].since if self.unlogged else position


# Instances of all operators side by side: see `AnyOperator`.
AnyInstance: TypeAlias = OperatorInstance[Any, Any]


def key_of(definition: Definition) -> Key:
    """Return the key of a definition."""
    return Key(definition.KIND, definition.project_id, definition.id, definition.version)


def _tag_of(key: Key, definition: Definition) -> np.uint64:
    # One that is deleted and created again has another tag: its old rows are not its own.
    text = f"{key.name}/{definition.created_at}"
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))
