"""Administer the keys of a deployment: the work of `avila keys`, `tokens` and `projects`."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self, TypeVar

from schemas.errors import Unavailable
from schemas.settings import Settings
from services.commands import Commands
from services.keys.commands import KeyCommands
from services.keys.view import Keys, read_keys
from services.topic_view import TopicView

T = TypeVar("T")

_CAUGHT_UP_TIMEOUT_S: Final = 15.0


class KeyAdmin(KeyCommands):
    """Administers the keys of a deployment by a view of its own. Use it in an `async with` block.

    Attributes:
        keys: complete once the block is entered.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        keys = Keys()
        self._definitions = TopicView(
            "definitions",
            settings.cluster,
            [settings.topics.definitions.name],
            read_keys,
            keys.apply,
        )
        super().__init__(keys, Commands(settings, self._definitions))

    async def __aenter__(self) -> Self:
        self._definitions.start()
        try:
            async with asyncio.timeout(_CAUGHT_UP_TIMEOUT_S):
                await self._definitions.catch_up()
        except BaseException as error:
            await self._definitions.stop()
            if isinstance(error, TimeoutError):
                raise Unavailable(
                    f"Kafka at {self._settings.bootstrap} does not answer: check "
                    "AVILA_KAFKA_BOOTSTRAP and that the broker runs"
                ) from error
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._definitions.stop()


def run_with_key_admin(settings: Settings, work: Callable[[KeyAdmin], Awaitable[T]]) -> T:
    """Run `work` with a `KeyAdmin` in a new event loop and return its result; blocks."""

    async def run() -> T:
        async with KeyAdmin(settings) as admin:
            return await work(admin)

    return asyncio.run(run())
