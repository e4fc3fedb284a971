"""Authorize requests by their write key, and enforce the rates and quotas of keys and projects.

Each process enforces the limits on its own: two ingest processes admit up to twice the rate and
quota, and a restarted process starts the day at zero. Exact counts across processes would cost a
round trip to Kafka per request. Events are charged when they are admitted, so dropped events and
repeated ones count too.
"""

import time
from collections.abc import Callable
from typing import Final

from schemas.errors import BackOff, Forbidden, OverLimit, Unauthorized
from schemas.keys import WRITE_KEY_PREFIX, Project, WriteKey, secret_kind
from services.keys.view import Keys

_DAY_MS: Final = 86_400_000
# Capacity of a token bucket, in seconds of its rate.
_BURST_S: Final = 1.0
_ADVICE: Final = (
    f"send `Authorization: Bearer {WRITE_KEY_PREFIX}…`, or set the key in your SDK; "
    "create one with `avila keys create`"
)


class Access:
    """Knows what each write key and project has sent. Use it from one thread.

    Until `is_ready()`, requests are told to come back; after that `keys` is used even while Kafka
    is away. `clock` returns milliseconds since 1970 (quotas use the UTC day) and `elapsed` seconds
    of a monotonic clock.
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
        # Only keys and projects with limits have a meter, so that unknown keys use no memory.
        self._meters: dict[tuple[str, str], _UsageMeter] = {}

    def admit(self, key: str, origin: str, events: int) -> str:
        """Charge `events` events to `key` and return the project that it sends to.

        `key` is the text as given, "" without one. `origin` is the `Origin` header, "" without one:
        only browsers send it. With 0 events this only checks the key.

        Raises:
            Unauthorized: the key is missing, unknown or revoked, or it is a secret.
            Forbidden: the key may not be used from this origin.
            OverLimit: the key or its project has used up its rate or quota; nothing is charged.
            BackOff: the keys are still being read.
        """
        if not self._is_ready():
            raise BackOff("the write keys are still being read: try again later", 1)
        found = self._keys.write_keys.get(key)
        if found is None:
            raise Unauthorized(_explain_unknown(key))
        if origin and found.origins and origin.lower() not in found.origins:
            raise Forbidden(f"the write key may not be used from {origin[:100]!r}")
        project = self._keys.projects.get(found.project_id)
        if events and (project or found.events_per_s or found.events_per_day):
            self._charge(found, project, events)
        return found.project_id

    def _charge(self, key: WriteKey, project: Project | None, events: int) -> None:
        now_s, now_ms = self._elapsed(), self._clock()
        limited = (key, project) if project else (key,)
        meters = [
            (one, self._meters.setdefault((one.kind, one.id), _UsageMeter())) for one in limited
        ]
        for one, meter in meters:
            meter.check(one, events, now_s, now_ms)
        for one, meter in meters:
            meter.charge(one, events, now_s)


class _UsageMeter:
    """The rate and quota that one write key or project has used.

    The rate is a token bucket of `_BURST_S` seconds, kept as one number: the time until which the
    events sent so far have used up the rate. A request is admitted once that time has passed and
    pays for all its events, so a batch may exceed the bucket; the next request waits for it.
    """

    __slots__ = ("day", "paid_until_s", "used")

    def __init__(self) -> None:
        self.paid_until_s = float("-inf")
        self.day = 0
        self.used = 0

    def check(self, limited: WriteKey | Project, events: int, now_s: float, now_ms: int) -> None:
        """Raise `OverLimit` if `events` events exceed the rate or the quota now."""
        if limited.events_per_s and self.paid_until_s >= now_s:
            raise OverLimit(
                f"{_name(limited)} may send {limited.events_per_s} events a second "
                "(events_per_s): try again later",
                max(self.paid_until_s - now_s, 1 / limited.events_per_s),
            )
        if limited.events_per_day:
            day, since_ms = divmod(now_ms, _DAY_MS)
            if day != self.day:
                self.day, self.used = day, 0
            if self.used + events > limited.events_per_day:
                raise OverLimit(
                    f"{_name(limited)} may send {limited.events_per_day} events a day "
                    f"(events_per_day); {limited.events_per_day - self.used} are left until "
                    "midnight UTC",
                    (_DAY_MS - since_ms) / 1_000,
                )

    def charge(self, limited: WriteKey | Project, events: int, now_s: float) -> None:
        """Count events that were admitted."""
        if limited.events_per_s:
            since = max(self.paid_until_s, now_s - _BURST_S)
            self.paid_until_s = since + events / limited.events_per_s
        if limited.events_per_day:
            self.used += events


def _name(limited: WriteKey | Project) -> str:
    return f"project {limited.id}" if isinstance(limited, Project) else "the write key"


def _explain_unknown(key: str) -> str:
    """Say why `key` is refused, without repeating it: it may be a secret."""
    if not key:
        return f"a write key is required: {_ADVICE}"
    if secret := secret_kind(key):
        return f"this is {secret}, and sends no events: revoke it if others could see it; {_ADVICE}"
    return f"the write key is unknown or was revoked; {_ADVICE}"
