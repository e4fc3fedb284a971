"""Answers that are kept for a moment, so that many viewers of one dashboard ask for it once."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Final

from schemas.errors import AvilaError

KEPT_S: Final = 1.0
_MAX_KEPT: Final = 1_000


class _Kept:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.body = b""
        self.failure: AvilaError | None = None
        self.until = 0.0


class RecentAnswers:
    """Keeps up to 1,000 answers for a second; `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    async def get(self, key: Hashable, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the answer under a key; of those who wait for it, one makes it.

        What makes it fail is kept for as long as an answer, and raised for all of them: a tile that
        cannot be answered is not asked for by each viewer. If the one that makes it leaves, the
        next one makes it.
        """
        kept = self._kept.setdefault(key, _Kept())
        self._kept.move_to_end(key)
        while len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)
        async with kept.lock:
            if self._clock() >= kept.until:
                kept.failure = None
                try:
                    kept.body = await make()
                except AvilaError as failure:
                    kept.failure = failure
                kept.until = self._clock() + KEPT_S
            if kept.failure is not None:
                raise kept.failure.with_traceback(None)
            return kept.body
