"""One connection of the live WebSocket: its subscriptions, and the messages that it is sent."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from schemas.errors import BackOff
from services.query.http.telemetry import QueryTelemetry
from services.query.live.subscriptions import Subscription
from services.sockets import Socket

TICK_S: Final = 0.2
CHECK_S: Final = 0.5
BEGIN_TIMEOUT_S: Final = 10.0


class LiveConnection:
    """What one connection has subscribed to.

    `check` raises when the connection's token is not valid any more. Messages of several topics go
    out in the order of `topics`.
    """

    def __init__(
        self,
        socket: Socket,
        topics: Sequence[str],
        check: Callable[[], None],
        telemetry: QueryTelemetry,
    ) -> None:
        self.socket = socket
        self._topics = topics
        self._check = check
        self._telemetry = telemetry
        self._subscriptions: dict[str, Subscription] = {}
        self._confirmed: set[str] = set()
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Send soon what there is to send."""
        self._woken.set()

    async def subscribe(self, topic: str, subscription: Subscription) -> None:
        """Begin a subscription, in place of an earlier one to the same topic.

        Raises:
            BackOff: the topic cannot be read now.
        """
        self._leave(topic)
        self._subscriptions[topic] = subscription
        try:
            async with asyncio.timeout(BEGIN_TIMEOUT_S):
                await subscription.begin()
        except TimeoutError:
            self._leave(topic)
            raise BackOff(f"{topic} cannot be read from Kafka now: try again later", 1) from None
        await self.socket.send(msgspec.json.encode({"subscribed": topic}))
        self._confirmed.add(topic)
        self.wake()

    async def unsubscribe(self, topic: str) -> None:
        """End the subscription to a topic, if there is one."""
        self._leave(topic)
        await self.socket.send(msgspec.json.encode({"unsubscribed": topic}))

    def end(self) -> None:
        """End all subscriptions."""
        for topic in tuple(self._subscriptions):
            self._leave(topic)

    async def send_messages(self) -> None:
        """Send what there is, a few times a second, as long as the token is valid."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_S):
                    await self._woken.wait()
            self._check()
            self._woken.clear()
            for topic in self._topics:
                # Looked up each time: another may be unsubscribed while one waits for its reader.
                confirmed = topic in self._confirmed
                message = self._subscriptions[topic].message() if confirmed else None
                if message is not None:
                    await self.socket.send(msgspec.json.encode(message))
                    self._telemetry.live_sent(topic, message.get("dropped", 0))
            await asyncio.sleep(TICK_S)

    def _leave(self, topic: str) -> None:
        self._confirmed.discard(topic)
        subscription = self._subscriptions.pop(topic, None)
        if subscription is not None:
            subscription.end()
