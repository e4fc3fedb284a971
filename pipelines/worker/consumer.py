"""Faust's view of the epochs: the consumer of the app."""

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn, ParamSpec, TypeAlias, TypeVar

from faust.transport import base
from faust.types import TP, ConsumerMessage, Message
from mode import Service
from mode.utils.futures import notify

from pipelines.kafka.records import Records
from pipelines.worker.app import settings_of
from pipelines.worker.epochs import Epochs
from pipelines.worker.messages import message
from pipelines.worker.tables import tables_of

P = ParamSpec("P")
T = TypeVar("T")
Passed: TypeAlias = Any  # what Faust passes to its own classes

_BY_EPOCHS = "the columnar transport reads and commits by epochs only: see pipelines.worker.epochs"


class Consumer(base.Consumer):
    """Runs the epochs; Faust starts and stops it as the consumer of the app."""

    def __init__(self, transport: base.Transport, *args: Passed, **kwargs: Passed) -> None:
        super().__init__(transport, *args, **kwargs)
        self._tables = tables_of(self.app)
        self._settings = settings_of(self.app)
        self._kafka_thread = ThreadPoolExecutor(1, thread_name_prefix="kafka")
        self._epochs: Epochs | None = None
        self._topics: list[str] = []
        self._subscribed = asyncio.Event()
        self._assigned: set[TP] = set()
        self._delivered: deque[Message] = deque()
        self._processed = True
        self._failure: BaseException | None = None

    # ── the life of a worker ─────────────────────────────────────────────────────────────────────

    async def on_start(self) -> None:
        """Connect; wait until the broker has settled the open transaction of a predecessor."""
        if not self.app.client_only:
            self._epochs = await self._on_kafka_thread(
                Epochs, self._settings, self._tables, self._tables.outbox
            )

    async def on_stop(self) -> None:
        """Leave the group; commit what is processed, but not an epoch that was interrupted."""
        if self._epochs is not None:
            self._epochs.stop_soon()
            await self._on_kafka_thread(self._epochs.close, commit=self._processed)
        self._kafka_thread.shutdown()

    @Service.task
    async def _run(self) -> None:
        """Run epoch after epoch until the worker stops; an exception stops the worker."""
        epochs = self._epochs
        if epochs is None:
            return
        await self._subscribed.wait()
        await self._on_kafka_thread(epochs.subscribe, self._topics)
        while not self.should_stop:
            epoch = await self._on_kafka_thread(epochs.fetch)
            assigned = {TP(*source) for source in epochs.assignment}
            if epochs.must_restore or assigned != self._assigned:
                await self._rebalance(epochs, assigned)
            if epoch:
                self._processed = False
                await self._process(epoch)
                # While the app stops, streams acknowledge messages that they drop.
                if self.should_stop or not self.app.flow_control.is_active():
                    return
                self._processed = True

    async def _process(self, epoch: list[Records]) -> None:
        """Deliver the epoch to the agents; return when they have acknowledged all of it.

        A batch on which an agent fails is acknowledged too, and its exception is raised here.
        """
        for records in epoch:
            await self.callback(self._to_message(TP(*records.source), records))
        while self._delivered and self._failure is None:
            if self._delivered[0].acked:
                self._delivered.popleft()
            else:
                self._waiting_for_ack = asyncio.get_running_loop().create_future()
                await self._waiting_for_ack
        if self._failure is not None:
            raise self._failure
        self._acked.clear()
        self._acked_index.clear()

    async def _rebalance(self, epochs: Epochs, now: set[TP]) -> None:
        """Tell Faust which partitions are assigned, and restore the new ones."""
        before = self._assigned
        # Streams drop messages of another generation than the app's.
        self.app.consumer_generation_id += 1
        self.app.on_rebalance_start()
        if before - now:
            await self.on_partitions_revoked(before - now)
        self._assigned = now
        await self.on_partitions_assigned(now, self.app.consumer_generation_id)
        await self._on_kafka_thread(epochs.restore)
        self.app.flow_control.resume()
        self.resume_flow()
        self.app.on_rebalance_end()

    async def _on_kafka_thread(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `call` on the one thread that may use `Epochs`."""
        bound = functools.partial(call, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._kafka_thread, bound)

    async def on_task_error(self, exc: BaseException) -> None:
        """Stop the worker without committing this epoch: an agent failed on its batch."""
        self._failure = exc
        notify(self._waiting_for_ack)

    def delivered(self, message: Message) -> None:
        """Note a message that goes to agents: the epoch ends when all are acknowledged.

        Faust's streams mark it and wake this consumer; compiled ones do so without calling `ack`.
        """
        self._delivered.append(message)

    def _to_message(self, tp: TP, record: Records) -> ConsumerMessage:
        generation = self.app.consumer_generation_id
        return message(tp, record.next_offset - 1, None, record, generation_id=generation)

    # ── what Faust asks of a consumer ────────────────────────────────────────────────────────────

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Subscribe to the topics of the agents, and again when agents are added."""
        self._topics = sorted(topics)
        if self._subscribed.is_set() and self._epochs is not None:
            await self._on_kafka_thread(self._epochs.subscribe, self._topics)
        self._subscribed.set()

    def assignment(self) -> set[TP]:
        """Return the partitions that Faust was last told of."""
        return self._assigned

    async def commit(self, *_: object, **__: object) -> bool:
        """Do nothing: an epoch commits itself."""
        return False

    async def wait_empty(self) -> None:
        """Do nothing: between epochs nothing is pending."""

    async def perform_seek(self) -> None:
        """Do nothing: a restored partition is read from the offset of its state."""

    async def verify_all_partitions_active(self) -> None:
        """Do nothing: an epoch that does not end shows in the worker's metrics."""

    async def _commit(self, offsets: Mapping[TP, int]) -> NoReturn:
        raise NotImplementedError(_BY_EPOCHS)

    async def _getmany(self, *_: object, **__: object) -> NoReturn:
        raise NotImplementedError(_BY_EPOCHS)

    async def _seek(self, partition: TP, offset: int) -> NoReturn:
        raise NotImplementedError(_BY_EPOCHS)

    async def seek_wait(self, partitions: Mapping[TP, int]) -> NoReturn:
        """Refuse: only epochs read and commit."""
        raise NotImplementedError(_BY_EPOCHS)

    async def seek_to_committed(self) -> NoReturn:
        """Refuse: only epochs read and commit."""
        raise NotImplementedError(_BY_EPOCHS)

    async def position(self, tp: TP) -> NoReturn:
        """Refuse: only epochs read and commit."""
        raise NotImplementedError(_BY_EPOCHS)

    async def earliest_offsets(self, *partitions: TP) -> NoReturn:
        """Refuse: only epochs read and commit."""
        raise NotImplementedError(_BY_EPOCHS)

    async def highwaters(self, *partitions: TP) -> NoReturn:
        """Refuse: only epochs read and commit."""
        raise NotImplementedError(_BY_EPOCHS)

    def highwater(self, tp: TP) -> NoReturn:
        """Refuse: only epochs read and commit."""
        raise NotImplementedError(_BY_EPOCHS)

    def topic_partitions(self, topic: str) -> None:
        """Return None: the number of partitions is not known here."""

    def key_partition(self, _: str, __: bytes | None, partition: int | None = None) -> int | None:
        """Return the partition asked for; without one, the key decides, as in Java clients."""
        return partition

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    async def create_topic(self, *_: object, **__: object) -> None:
        """Do nothing: `schemas.topics` declares the topics."""
