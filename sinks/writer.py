"""The thread that writes batches to a sink, until the sink has written them."""

import itertools
import queue
import threading
import time
from typing import Final

import structlog

from schemas.errors import Unavailable
from sinks.base import Batch, Sink
from sinks.partitions import Chunk
from sinks.telemetry import Metrics

log = structlog.get_logger(__name__)

_FIRST_PAUSE_S: Final = 0.1
_MAX_PAUSE_S: Final = 5.0


class Task:
    """A batch to be written; `written` is final once `wait` has returned True."""

    def __init__(self, batch: Batch, chunk: Chunk) -> None:
        self.batch = batch
        self.chunk = chunk
        self.written = False
        self.error: BaseException | None = None
        self.ended = threading.Event()

    def wait(self, timeout_s: float) -> bool:
        """Return whether it has ended: written, or its partition lost; raise the sink's error."""
        if not self.ended.wait(timeout_s):
            return False
        if self.error is not None:
            raise self.error
        return True


class Writer:
    """A thread that calls the sink with one batch at a time, and repeats failed writes.

    It is a daemon, so that a process can end while a sink hangs.
    """

    def __init__(self, sink: Sink, metrics: Metrics) -> None:
        self._sink = sink
        self._metrics = metrics
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        threading.Thread(target=self._run, name="sink-writer", daemon=True).start()

    def submit(self, batch: Batch, chunk: Chunk) -> Task:
        """Queue the batch."""
        task = Task(batch, chunk)
        self._tasks.put(task)
        return task

    def close(self) -> None:
        """Ask the thread to end after the current call, and then to close the sink."""
        self._closing.set()
        self._tasks.put(None)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                self._write(task)
            except BaseException as error:  # noqa: BLE001 - `Task.wait` raises it
                task.error = error
            task.ended.set()
        self._sink.close()

    def _write(self, task: Task) -> None:
        batch = task.batch
        for attempt in itertools.count():
            if self._closing.is_set() or not task.chunk.owned:
                return
            began_s = time.monotonic()
            try:
                if batch.rows.num_rows:
                    self._sink.write(batch)
            except Unavailable as error:
                batch = batch._replace(again=True)
                self._metrics.retried()
                log.warning("batch not written yet", batch=batch.name, error=str(error))
                self._closing.wait(pause_s(attempt))
            else:
                task.written = True
                self._metrics.wrote(batch.rows.num_rows, time.monotonic() - began_s)
                return


def pause_s(attempt: int) -> float:
    """Return the pause after a failed attempt (from 0): it doubles each time, up to 5 s."""
    return min(_FIRST_PAUSE_S * 2.0 ** min(attempt, 10), _MAX_PAUSE_S)
