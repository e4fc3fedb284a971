"""Deliveries in threads of the test process, to sinks that fail on demand."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

from schemas.avro.codec import Codec
from schemas.registry.log import Registry
from schemas.settings import Settings
from sinks.base import Batch, ResumableSink
from sinks.delivery import Delivery
from sinks.memory import MemorySink
from sinks.rejects import Rejects
from sinks.resume import resuming
from sinks.rows import EVENT, decode
from sinks.source import SourceSettings
from sinks.telemetry import Metrics
from tests.processes import eventually

GROUP = "sinks"
TIMEOUT_S = 120.0


class FailingSink(MemorySink):
    """A memory sink that raises what `before` or `after` returns for a batch, if anything."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Batch] = []
        self.before: Callable[[Batch], BaseException | None] = lambda _: None
        self.after: Callable[[Batch], BaseException | None] = lambda _: None

    def write(self, batch: Batch) -> None:
        self.asked.append(batch)
        if (error := self.before(batch)) is not None:
            raise error
        super().write(batch)
        if (error := self.after(batch)) is not None:
            raise error


class Running:
    """A delivery in a thread; leaving the block stops it and raises its error."""

    def __init__(
        self,
        settings: Settings,
        sink: ResumableSink,
        *,
        chunk_rows: int = 50_000,
        missing_offsets: Literal["refuse", "beginning", "end"] = "refuse",
    ) -> None:
        self.metrics = Metrics()
        self._settings = settings
        self._sink = sink
        self._chunk_rows = chunk_rows
        self._missing_offsets: Literal["refuse", "beginning", "end"] = missing_offsets
        self._delivery: Delivery | None = None
        self._failure: BaseException | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Running":
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        assert self._delivery is not None
        self._delivery.stop()
        self.join()
        if self._failure is not None and kind is None:
            raise self._failure

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()

    @property
    def failure(self) -> BaseException | None:
        """The error that has ended it, if any."""
        return self._failure

    def forget_failure(self) -> None:
        """Drop an expected failure."""
        self._failure = None

    def _run(self) -> None:
        settings = self._settings
        with Registry(settings.bootstrap) as registry:
            source = SourceSettings(
                settings.bootstrap,
                settings.topics.events.name,
                GROUP,
                session_timeout_ms=6_000,
                chunk_rows=self._chunk_rows,
                missing_offsets=self._missing_offsets,
            )
            codec = Codec(EVENT, registry.find)
            self._delivery = Delivery(
                source,
                self._sink,
                partial(decode, codec),
                resuming(source, self._sink, codec),
                Rejects(settings.bootstrap, settings.topics.rejected.name),
                self.metrics,
            )
            self._ready.set()
            try:
                self._delivery.run()
            except BaseException as error:  # noqa: BLE001 - raised again on leaving
                self._failure = error


def wait_for(happened: Callable[[], bool], what: str = "it", timeout_s: float = TIMEOUT_S) -> None:
    """Wait until `happened` returns true, or fail."""
    assert eventually(happened, timeout_s), f"{what} did not happen within {timeout_s} s"


@contextlib.contextmanager
def failing_once(sink: FailingSink, where: str, number: int = 1) -> Iterator[None]:
    """Within the block, the sink's write number `number` fails like a crash of the delivery."""
    left = [number]

    def fail(_: Batch) -> BaseException | None:
        left[0] -= 1
        return RuntimeError("crash") if left[0] == 0 else None

    setattr(sink, where, fail)
    yield
    setattr(sink, where, lambda _: None)
