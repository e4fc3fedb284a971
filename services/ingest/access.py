"""Decides, by the write key, whose events these are and whether so many may be sent now.

Limits are each process's own: two ingest processes let in up to twice the rate and twice the quota,
and a process that is started again begins its day anew. Counting across processes would cost a trip
to Kafka a request, or make the counts wrong in another way. What is let in is charged when it is,
whatever becomes of it: events that are dropped, and those sent again, count too.
"""

import time
from collections.abc import Callable
from typing import Final

from schemas.errors import BackOff, Forbidden, OverLimit, Unauthorized
from schemas.keys import WRITE_KEY_PREFIX, Project, WriteKey, secret_kind
from services.keys.view import Keys

_DAY_MS: Final = 86_400_000
# What may be sent at once by somebody who has sent nothing for a while, in seconds of the rate.
_BURST_S: Final = 1.0
_HOW: Final = (
    f"send `Authorization: Bearer {WRITE_KEY_PREFIX}…`, or the key where your SDK puts it; "
    "make one with `avila keys create`"
)


class Access:
    """Knows what was sent in the name of each write key and project; for one thread.

    `keys` is followed meanwhile, and relied on as soon as `is_ready()`, from then on also when
    Kafka is away. `clock` gives the time in milliseconds since 1970, of which the day is taken (in
    UTC), and `elapsed` seconds that never go backwards.
    """

    def __init__(
        self,
        keys: Keys,
        is_ready: Callable[[], bool],
        clock: Callable[[], int],
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._is_ready = is_ready
        self._clock = clock
        self._elapsed = elapsed
        # Only of keys and projects that exist and have limits: strangers leave nothing behind.
        self._meters: dict[tuple[str, str], _Meter] = {}

    def admit(self, key: str, origin: str, events: int) -> str:
        """Return the project that `key` sends to, having charged so many events to it.

        `key` is as it was given, "" if there was none; `origin` is the `Origin` header, "" for none
        (who is no browser need not send one). With 0 events it only tells whether the key is good.

        Raises:
            Unauthorized: the key is missing, not known, revoked, or a secret.
            Forbidden: the key may not be used from this origin.
            OverLimit: the rate or the quota of the key or its project is used up; none is charged.
            BackOff: the keys are still being read.
        """
        if not self._is_ready():
            raise BackOff("the write keys are still being read: try again later", 1)
        found = self._keys.write_keys.get(key)
        if found is None:
            raise Unauthorized(_stranger(key))
        if origin and found.origins and origin.lower() not in found.origins:
            raise Forbidden(f"the write key may not be used from {origin[:100]!r}")
        project = self._keys.projects.get(found.project_id)
        if events and (project or found.events_per_s or found.events_per_day):
            self._charge(found, project, events)
        return found.project_id

    def _charge(self, key: WriteKey, project: Project | None, events: int) -> None:
        now_s, now_ms = self._elapsed(), self._clock()
        limited = (key, project) if project else (key,)
        meters = [(one, self._meters.setdefault((one.kind, one.id), _Meter())) for one in limited]
        for one, meter in meters:
            meter.check(one, events, now_s, now_ms)
        for one, meter in meters:
            meter.charge(one, events, now_s)


class _Meter:
    """What one write key, or one project, has used.

    The rate is a token bucket that holds `_BURST_S` of it, written as one number: the time at which
    all that was sent would have been sent at the rate. A request is let in while that is past, and
    pays for all its events, so that a batch may be larger than the bucket; the next waits for it.
    """

    __slots__ = ("day", "paid_until_s", "used")

    def __init__(self) -> None:
        self.paid_until_s = float("-inf")
        self.day = 0
        self.used = 0

    def check(self, limited: WriteKey | Project, events: int, now_s: float, now_ms: int) -> None:
        """Raise `OverLimit` if so many events are too many now."""
        if limited.events_per_s and self.paid_until_s >= now_s:
            raise OverLimit(
                f"{_whose(limited)} may send {limited.events_per_s} events a second "
                "(events_per_s): try again later",
                max(self.paid_until_s - now_s, 1 / limited.events_per_s),
            )
        if limited.events_per_day:
            day, since_ms = divmod(now_ms, _DAY_MS)
            if day != self.day:
                self.day, self.used = day, 0
            if self.used + events > limited.events_per_day:
                raise OverLimit(
                    f"{_whose(limited)} may send {limited.events_per_day} events a day "
                    f"(events_per_day), of which {limited.events_per_day - self.used} are left "
                    "until midnight UTC",
                    (_DAY_MS - since_ms) / 1_000,
                )

    def charge(self, limited: WriteKey | Project, events: int, now_s: float) -> None:
        """Count events that were let in."""
        if limited.events_per_s:
            since = max(self.paid_until_s, now_s - _BURST_S)
            self.paid_until_s = since + events / limited.events_per_s
        if limited.events_per_day:
            self.used += events


def _whose(limited: WriteKey | Project) -> str:
    return f"project {limited.id}" if isinstance(limited, Project) else "the write key"


def _stranger(key: str) -> str:
    """Say what is wrong with a key that is none; without it, as it may be a secret."""
    if not key:
        return f"a write key is required: {_HOW}"
    if secret := secret_kind(key):
        return f"this is {secret}, and sends no events: revoke it if others could see it; {_HOW}"
    return f"the write key is unknown or was revoked; {_HOW}"
