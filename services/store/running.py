"""A running statement: the engine's thread writes its result, the event loop reads it.

A pipe connects them. The engine waits while the pipe is full, so a result takes no more memory than
the pipe, however large it is and however slow its reader.
"""

import asyncio
import contextlib
import fcntl
import os
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from chdb import ChdbError

from services.store.errors import Code, StoreError, engine_error
from services.store.jobs import Job, Outcome
from services.store.statements import Insert

_CHUNK_BYTES: Final = 1 << 20
_KILL_EVERY_S: Final = 0.25

# Runs the statement on the calling thread, and writes its result to a descriptor
Execute = Callable[["Running", int], Outcome]
# Asks the engine to stop the query with an id; does not wait for its end
Kill = Callable[[str], Awaitable[None]]


class Running:
    """A running statement; its reader sets the pace."""

    def __init__(self, job: Job, workers: ThreadPoolExecutor, execute: Execute, kill: Kill) -> None:
        self.job = job
        self.has_result = False
        self._execute = execute
        self._kill = kill
        self._source, self._target = os.pipe()
        os.set_blocking(self._source, False)
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # the user's pipes may be at their limit
                fcntl.fcntl(self._source, fcntl.F_SETPIPE_SZ, _CHUNK_BYTES)
        self._reads_only = self._left = False
        self._killer: asyncio.Task[None] | None = None
        self.done: asyncio.Future[Outcome] = asyncio.get_running_loop().run_in_executor(
            workers, self._run
        )

    async def read(self) -> bytes:
        """Return the next bytes of the result; empty at its end, whatever the outcome."""
        while True:
            try:
                return os.read(self._source, _CHUNK_BYTES)
            except BlockingIOError:
                await self._readable()

    def cancel(self) -> None:
        """Stop the statement; `done` completes soon after. May be called repeatedly."""
        if not self.done.done() and self._killer is None:
            self._killer = asyncio.create_task(self._kill_until_done())

    def client_left(self) -> None:
        """Note that the client has left, and cancel the statement if it only reads.

        A statement that changes data continues, as on a server: a partial change would be worse.
        """
        self._left = True
        if self._reads_only:
            self.cancel()

    def mark_reading(self) -> None:
        """Note that the statement only reads and has a result; called on the worker's thread.

        Raises:
            StoreError: the client has left.
        """
        self._reads_only = self.has_result = True
        if self._left:
            raise StoreError(Code.QUERY_WAS_CANCELLED, "Query was cancelled")

    async def close(self) -> None:
        """Discard the rest of the result and wait for the statement's end; never raises."""
        while not self.done.done():
            # The engine may be blocked in a write that only a reader can end.
            with contextlib.suppress(BlockingIOError):
                while os.read(self._source, _CHUNK_BYTES):
                    pass
            await asyncio.wait([self.done], timeout=0.02)
        if self._killer is not None:
            await asyncio.wait([self._killer])
        if self._source >= 0:
            os.close(self._source)
            self._source = -1

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        loop.add_reader(self._source, _wake, ready)
        try:
            await ready
        finally:
            loop.remove_reader(self._source)

    async def _kill_until_done(self) -> None:
        # Repeatedly: the statement may not have reached the engine yet.
        while not self.done.done():
            await self._kill(self.job.query_id)
            await asyncio.wait([self.done], timeout=_KILL_EVERY_S)

    def _run(self) -> Outcome:
        try:
            return self._execute(self, self._target)
        except StoreError as error:
            return Outcome(error)
        except UnicodeDecodeError as error:
            # The binding cannot decode an error that quotes binary input; this is the error's text.
            return self._failed(error.object.decode(errors="replace"))
        except (ChdbError, RuntimeError) as error:
            return self._failed(str(error))
        finally:
            os.close(self._target)

    def _failed(self, text: str) -> Outcome:
        return Outcome(engine_error(text, inserting=isinstance(self.job.statement, Insert)))


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
