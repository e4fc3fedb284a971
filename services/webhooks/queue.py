"""The messages of one subscription that wait, and what to do next with them. Pure: time is given.

Messages of one key are sent in order, those of different keys beside each other. One that fails is
tried again after pauses that grow, for a day; then it is dead. When a receiver has failed five
times in a row, it is given a rest (a circuit breaker): only one message a minute is tried, which is
not counted as a try of its own, until one succeeds; then all are due.

At most `MAX_HELD` messages are held; the rest stays in the log, from `resume` on, until there is
room.
"""

import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from schemas.notices.delivery import Attempts, Dead, DeliveryState, Message, Outcome
from services.webhooks.post import Answer

MAX_HELD: Final = 1_000
MAX_HELD_BYTES: Final = 4 << 20
MAX_AT_ONCE: Final = 4
KEEP_TRYING_MS: Final = 86_400_000
BREAK_AFTER: Final = 5
_MAX_REST_MS: Final = 60_000
_FIRST_REST_MS: Final = 5_000
_MAX_RECENT: Final = 20
# After each try that has failed; the last one is repeated.
_PAUSES_S: Final = (5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400)


class Held(NamedTuple):
    """A message that waits, at its offset."""

    offset: int
    message: Message


def pause_ms(message_id: str, count: int) -> int:
    """Return how long to wait after `count` tries that failed: spread by a tenth, by the id."""
    pause = 1_000 * _PAUSES_S[min(count, len(_PAUSES_S)) - 1]
    return pause + pause * (zlib.crc32(message_id.encode()) % 201 - 100) // 1_000


class SubscriptionQueue:
    """The queue of one subscription.

    Attributes:
        state: what is written of it; `snapshot` brings it up to date.
        resume: where reading continues once there is room; None while all is held.
    """

    def __init__(self, state: DeliveryState) -> None:
        self.state = state
        self.resume = state.low
        self._held: dict[int, Message] = {}  # in the order of offsets
        self._bytes = 0
        self._settled = set(state.settled)
        self._sending: set[int] = set()

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not self._held and self.resume is None

    @property
    def has_room(self) -> bool:
        """Whether half of the messages that may be held could be read."""
        return len(self._held) <= MAX_HELD // 2 and self._bytes <= MAX_HELD_BYTES // 2

    def take(self, offset: int, message: Message) -> bool:
        """Hold a message, if it is not settled; return whether reading may go on behind it."""
        if offset in self._settled or offset in self._held:
            return True
        if len(self._held) >= MAX_HELD or self._bytes >= MAX_HELD_BYTES:
            self.resume = offset
            return False
        self._held[offset] = message
        self._bytes += len(message.body)
        return True

    def renew(self, revision: int, now_ms: int) -> None:
        """Forget the failures of an earlier revision: its address may have been corrected."""
        if self.state.revision not in {0, revision}:
            self._make_due(now_ms)
            self.state.failures, self.state.open_until = 0, 0
        self.state.revision = revision

    def start(self, now_ms: int) -> list[Held]:
        """Return the messages to send now; they count as being sent until they are `finish`ed."""
        if self._rests(now_ms):
            return []
        room = MAX_AT_ONCE - len(self._sending)
        if self._is_broken:
            room = min(room, 1 - len(self._sending))
        found = sorted(self._heads(), key=self._tries) if self._is_broken else self._heads()
        starting: list[Held] = []
        for offset in found:
            if len(starting) >= room:
                break
            if offset not in self._sending and (self._is_broken or self._due_at(offset) <= now_ms):
                starting.append(Held(offset, self._held[offset]))
        self._sending |= {one.offset for one in starting}
        return starting

    def finish(self, offset: int, answer: Answer, now_ms: int) -> Dead | None:
        """Take in what came of a message; return it if it is dead now."""
        self._sending.discard(offset)
        message = self._held.get(offset)
        if message is None:
            return None
        state, was_broken = self.state, self._is_broken
        tried = state.attempts.get(offset) or Attempts(count=0, due_at=0)
        self._remember(message, tried.count + 1, answer, now_ms)
        if answer.ok:
            if state.failures:
                self._make_due(now_ms)
            state.failures, state.open_until = 0, 0
            state.delivered += 1
            self._settle(offset)
            return None
        state.failures += 1
        rest_ms = 1_000 * answer.retry_after_s
        if self._is_broken:
            grown = _FIRST_REST_MS << min(state.failures - BREAK_AFTER, 10)
            state.open_until = now_ms + max(rest_ms, min(grown, _MAX_REST_MS))
        if not was_broken:
            count = tried.count + 1
            pause = max(rest_ms, pause_ms(message.id, count))
            state.attempts[offset] = Attempts(count=count, due_at=now_ms + pause)
        if now_ms - message.created_at >= KEEP_TRYING_MS:
            return self._bury(offset, answer.status, answer.reason, now_ms)
        return None

    def expire(self, now_ms: int) -> Iterator[Dead]:
        """Yield the messages that have waited for a day behind a receiver that fails."""
        if not self.state.failures:
            return
        for offset, message in list(self._held.items()):
            if now_ms - message.created_at < KEEP_TRYING_MS:
                return  # they are in the order of time
            if offset not in self._sending:
                yield self._bury(offset, 0, "the receiver has failed for a day", now_ms)

    def wakes_at(self, now_ms: int) -> int | None:
        """Return when `start` may return something (ms); None as long as nothing changes."""
        if self._rests(now_ms):
            return self.state.open_until
        if self._is_broken:
            return now_ms if self._held and not self._sending else None
        return min(
            (self._due_at(one) for one in self._heads() if one not in self._sending), default=None
        )

    def snapshot(self) -> DeliveryState:
        """Return the state, up to date."""
        held = min(self._held, default=None)
        self.state.low = held if held is not None else self.resume
        low = self.state.low
        self._settled = {one for one in self._settled if low is not None and one > low}
        self.state.settled = sorted(self._settled)
        self.state.waiting = len(self._held)
        return self.state

    @property
    def _is_broken(self) -> bool:
        return self.state.failures >= BREAK_AFTER

    def _rests(self, now_ms: int) -> bool:
        return now_ms < self.state.open_until

    def _heads(self) -> list[int]:
        """Return the first message of each key."""
        heads: dict[str, int] = {}
        for offset, message in self._held.items():
            heads.setdefault(message.key, offset)
        return list(heads.values())

    def _tries(self, offset: int) -> int:
        tried = self.state.attempts.get(offset)
        return 0 if tried is None else tried.count

    def _due_at(self, offset: int) -> int:
        tried = self.state.attempts.get(offset)
        return 0 if tried is None else tried.due_at

    def _make_due(self, now_ms: int) -> None:
        for tried in self.state.attempts.values():
            tried.due_at = now_ms

    def _settle(self, offset: int) -> None:
        self._bytes -= len(self._held.pop(offset).body)
        self.state.attempts.pop(offset, None)
        self._settled.add(offset)

    def _bury(self, offset: int, status: int, reason: str, now_ms: int) -> Dead:
        message = self._held[offset]
        dead = Dead(
            message=message,
            at=now_ms,
            attempts=self._tries(offset),
            status=status,
            reason=reason,
        )
        self.state.dead += 1
        self._settle(offset)
        return dead

    def _remember(self, message: Message, attempt: int, answer: Answer, now_ms: int) -> None:
        outcome = Outcome(
            id=message.id,
            type=message.type,
            at=now_ms,
            attempt=attempt,
            status=answer.status,
            reason=answer.reason,
            delivered=answer.ok,
        )
        self.state.recent = [outcome, *self.state.recent[: _MAX_RECENT - 1]]
