"""How far definitions are: what each partition says, and what that comes to."""

import datetime
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

import msgspec

from services.query.http.params import instant

State = Literal["backfilling", "live", "behind", "failed"]
# In which a definition counts events as they come.
LIVE_STATES: Final[tuple[State, ...]] = ("live", "behind")


class Progress(NamedTuple):
    """How far one partition is: events below `position` are counted.

    `backfilling_to` is the offset that the partition has to reach to be live, None once it is live;
    `live_since` is the offset at which it went live. `failed` is the reason why counting has
    stopped. `behind` is how many events came too late and are about to be counted, `behind_since`
    when the first of them came.
    """

    position: int
    backfilling_to: int | None
    live_since: int | None = None
    failed: str | None = None
    behind: int | None = None
    behind_since: int | None = None

    @property
    def share(self) -> float:
        """The share of the partition's events that is counted; 1 only if it is live."""
        if self.backfilling_to is None:
            return 1.0
        return min(0.99, self.position / max(1, self.backfilling_to))

    @property
    def was_live(self) -> bool:
        """Whether the partition is live, or was before it failed or fell behind."""
        return self.backfilling_to is None or self.live_since is not None


def progress_of(record: Mapping[str, Any]) -> Progress:
    """Read the progress from a record of aggregates, of any operator."""
    return Progress(*(record[name] for name in Progress._fields))


class StatusResponse(msgspec.Struct, frozen=True, kw_only=True):
    """How far a definition is.

    It is `backfilling` until it has caught up with the events that came before it: `backfilled` is
    the share of them that is counted (0 to 1), and `text` is a description for people. Then it is
    `live`, and `live_since` has the offset at which it went live for each partition of the event
    store. It is `behind` while it lacks events that came later than the allowed lateness: `behind`
    says how many, and `behind_since` when the first of them came. A recount begins by itself, and
    until it is done the results are as before. It has `failed` if a worker could not continue with
    it: its results stay as they were, and `reason` is why; a new version, or `avila replay`, starts
    it again.
    """

    state: State
    backfilled: float = 1.0
    live_since: Mapping[int, int] = {}
    behind: int = 0
    behind_since: datetime.datetime | None = None
    reason: str | None = None
    text: str = ""


LIVE: Final = StatusResponse(state="live")


def failed(
    reason: str, share: float = 0.0, live_since: Mapping[int, int] = MappingProxyType({})
) -> StatusResponse:
    """Return the status of a definition that has failed."""
    return StatusResponse(
        state="failed",
        backfilled=share,
        live_since=dict(live_since),
        reason=reason,
        text=f"failed: {reason}",
    )


def status_of(progress: Mapping[int, Progress], partitions: int) -> StatusResponse:
    """Sum up what the partitions say; a partition that has said nothing has counted nothing."""
    share = min(1.0, sum(one.share for one in progress.values()) / partitions)
    live_since = {
        number: one.live_since for number, one in progress.items() if one.live_since is not None
    }
    for number, one in progress.items():
        if one.failed:
            return failed(f"partition {number}: {one.failed}", share, live_since)
    if share < 1:
        text = f"backfilling ({share:.0%})"
        return StatusResponse(
            state="backfilling", backfilled=share, live_since=live_since, text=text
        )
    behind = sum(one.behind or 0 for one in progress.values())
    if behind:
        times = [one.behind_since for one in progress.values() if one.behind_since]
        text = f"behind: {behind} events came too late, and are about to be counted"
        return StatusResponse(
            state="behind",
            live_since=live_since,
            behind=behind,
            behind_since=instant(min(times)) if times else None,
            text=text,
        )
    offsets = ", ".join(f"{at} of {number}" for number, at in sorted(live_since.items()))
    text = f"live since offset {offsets}" if offsets else "live"
    return StatusResponse(state="live", live_since=live_since, text=text)
