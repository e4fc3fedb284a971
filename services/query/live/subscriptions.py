"""Subscriptions: the messages of one topic to one connection that follows live results."""

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from services.query.live.event_tail import Seen, Tail, evenly
from services.query.live.feed import LiveResults

_MAX_BYTES: Final = 1 << 20

Wake = Callable[[], None]


class Subscription(Protocol):
    """The messages of one topic to one connection, from `begin` to `end`.

    Attributes:
        message_id: what the last message may be continued by; empty if it cannot be.
    """

    message_id: str

    async def begin(self) -> None:
        """Watch the topic, and call `wake` whenever there is something to send."""

    def end(self) -> None:
        """Stop watching."""

    def message(self) -> dict[str, Any] | None:
        """Return what is to be sent now, if anything."""


class ResultsSubscription:
    """The results of all definitions of one operator, each once it differs from what was sent.

    With `only`, they are those of the definition with this id.

    Attributes:
        message_id: empty.
        name: the plural of the operator.
        sent: the latest results that were sent of each definition.
    """

    def __init__(
        self,
        name: str,
        feed: LiveResults[Any],
        project_id: str,
        wake: Wake,
        only: str | None = None,
    ) -> None:
        self.name = name
        self.message_id = ""
        self.sent: dict[str, bytes] = {}
        self._only = only
        self._feed = feed
        self._project_id = project_id
        self._wake = wake
        self._changed: set[str] = set()

    async def begin(self) -> None:
        """Watch the results."""
        self._feed.watch(self._project_id, self._touch)

    def end(self) -> None:
        """Stop watching."""
        self._feed.leave(self._project_id, self._touch)

    def message(self) -> dict[str, Any] | None:
        """Return the results that have changed since the last message, if any."""
        self._feed.refresh()
        new: list[msgspec.Raw] = []
        deleted: list[str] = []
        for name in sorted(self._changed):
            state = self._feed.state(self._project_id, name)
            if state is None:
                self.sent.pop(name, None)
                deleted.append(name)
            elif self.sent.get(name) != state:
                self.sent[name] = state
                new.append(msgspec.Raw(state))
        self._changed.clear()
        return {self.name: new, "deleted": deleted} if new or deleted else None

    def _touch(self, name: str) -> None:
        if self._only is not None and name != self._only:
            return
        self._changed.add(name)
        self._wake()


class EventsSubscription:
    """Events that wait to be sent; beyond `_MAX_BYTES` the oldest are dropped."""

    message_id = ""

    def __init__(self, tail: Tail, project_id: str, sample: float, wake: Wake) -> None:
        self._tail = tail
        self._project_id = project_id
        self._sample = sample
        self._wake = wake
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._share = 0.0
        self._sampled_out = 0
        self._dropped = 0

    async def begin(self) -> None:
        """Watch the event store's end; return once all later events will be seen."""
        await self._tail.watch(self._project_id, self._take)

    def end(self) -> None:
        """Stop watching."""
        self._tail.leave(self._project_id, self._take)

    def message(self) -> dict[str, Any] | None:
        """Return the events since the last message, if any."""
        if not (self._waiting or self._sampled_out or self._dropped):
            return None
        message = {
            "events": [msgspec.Raw(event) for event in self._waiting],
            "sampled_out": self._sampled_out,
            "dropped": self._dropped,
        }
        self._waiting.clear()
        self._bytes = self._sampled_out = self._dropped = 0
        return message

    def _take(self, seen: Seen) -> None:
        self._share += self._sample * seen.total
        count = min(int(self._share), len(seen.events))
        self._share %= 1
        self._sampled_out += seen.total - count
        for event in evenly(seen.events, count):
            self._waiting.append(event)
            self._bytes += len(event)
        while self._bytes > _MAX_BYTES:
            self._bytes -= len(self._waiting.popleft())
            self._dropped += 1
        self._wake()
