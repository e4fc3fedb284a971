"""Ends previous versions: once a new version is live on all partitions, it is the only one.

Every query process does this, and so does `avila replay`. The command is decided on the present
definition and writes nothing if another process was first; what a process leaves undone when it
crashes, the next one finds and does.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from schemas.errors import AvilaError
from schemas.operators import OperatorSpec
from services.commands import Commands, Write
from services.query.versions import without_previous
from services.query.views.catalog import D, Definitions
from services.query.views.changes import Key, has_previous

log = structlog.get_logger(__name__)

_LOOK_EVERY_S: Final = 2.0
_RETRY_S: Final = 1.0


class _PromotedError(Exception):
    """Nothing is left to do."""


async def promote(
    commands: Commands, spec: OperatorSpec, definitions: Definitions[D], live: D
) -> None:
    """Write a definition that is live without its previous version, unless it has changed since.

    Raises:
        Unavailable: not acknowledged in time; call again.
    """
    key = Key(live.project_id, live.id)

    def decide() -> Write[None]:
        present = definitions.find(key)
        if present is None or present.version != live.version or not has_previous(present):
            raise _PromotedError
        promoted = without_previous(present)
        return Write(promoted.key, spec.encode(promoted), {}, None)

    try:
        await commands.change(decide)
    except _PromotedError:
        return
    log.info("definition_promoted", key=live.key, version=live.version)


class Promotions:
    """Calls `promote_all` soon after each `wake`, and every few seconds."""

    def __init__(self, promote_all: Callable[[], Awaitable[None]]) -> None:
        self._promote_all = promote_all
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look again, since definitions or results have changed."""
        self._woken.set()

    async def run(self) -> None:
        """Promote what is live, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._woken.wait()
            self._woken.clear()
            try:
                await self._promote_all()
            except AvilaError as error:
                log.warning("definitions_not_promoted", reason=str(error))
                await asyncio.sleep(_RETRY_S)
            except Exception:  # a defect of ours must not end promoting for good
                log.exception("promotion_failed")
                await asyncio.sleep(_RETRY_S)
