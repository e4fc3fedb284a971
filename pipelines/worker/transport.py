"""The Faust transport that delivers columns: `columnar://host:port`.

Faust's own drivers hand an agent one record at a time, at some 120 µs each. This one hands it
everything that one fetch brought of a topic-partition as one `Records` value, and acknowledges,
writes and commits in the lockstep of `pipelines.worker.epochs`. Faust keeps what it is good at: the
app, agents, streams, topics, the worker and its commands.

    Kafka thread                            event loop
    Epochs.fetch() ──▶ [Records, …] ──▶ Conductor ──▶ the stream of every agent
         ▲                                                │ each batch acknowledged
         └────────── Consumer waits for all of them ◀─────┘

An agent gets columns if its topic has the `Columns` schema, and single events otherwise; any number
of both may read one topic.

What Faust asks for and is answered differently: offsets are committed by epochs and by nothing
else, so `commit` does nothing; nothing is buffered between epochs, so there is nothing to wait for
in `wait_empty` and nothing to `seek`. State is kept by `pipelines.worker.tables`, whose manager the
app must name; Faust's own tables are refused there, for their recovery needs what is gone here.
"""

import asyncio
import functools
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableSet
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import faust
from confluent_kafka import Producer as KafkaProducer
from faust.transport import base
from faust.transport.conductor import Conductor as FaustConductor
from faust.types import TP, ConsumerMessage, Message, RecordMetadata
from mode import Service
from mode.utils.futures import notify

from pipelines.kafka.records import BY_KEY, Records
from pipelines.worker.epochs import MAX_RECORDS, Epochs, EpochSettings
from pipelines.worker.shutdown import exit_after
from pipelines.worker.tables import TableManager

T = TypeVar("T")


class Columns(faust.Schema):  # type: ignore[type-arg]
    """The schema of a topic whose agents take `Records` as they come from the transport."""

    def loads_key(self, app: Any, message: Message, **_: Any) -> Any:  # noqa: ARG002
        """A batch has no key of its own: `Records.keys` holds them all."""
        return None

    def loads_value(self, app: Any, message: Message, **_: Any) -> Any:  # noqa: ARG002
        """Pass the batch on as it is."""
        return message.value


class App(faust.App):
    """An app that has no data directory of Faust's, and whose stop takes a bounded time."""

    def _create_directories(self) -> None:
        pass

    async def stop(self) -> None:
        """Stop in order; the process ends within seconds even if Kafka does not answer."""
        if not self.client_only:
            exit_after()
        await super().stop()


class Conductor(FaustConductor):
    """Hands each batch to the agents of its topic: whole, or record by record."""

    def _build_handler(self, tp: TP, channels: MutableSet[Any]) -> Any:
        columnar = {channel for channel in channels if isinstance(channel.schema, Columns)}
        single = set(channels) - columnar
        deliver_batch = super()._build_handler(tp, columnar)
        deliver_record = super()._build_handler(tp, single)
        consumer: Any = self.app.consumer

        async def deliver(batch: ConsumerMessage) -> None:
            if columnar:
                consumer.delivered(batch)
                await deliver_batch(batch)
            if single:
                for record in _single_messages(batch):
                    consumer.delivered(record)
                    await deliver_record(record)

        return deliver


class Consumer(base.Consumer):
    """Runs the epochs: what Faust knows as the consumer of the app."""

    def __init__(self, transport: "Transport", *args: Any, **kwargs: Any) -> None:
        super().__init__(transport, *args, **kwargs)
        self._tables = transport.tables
        self._settings = transport.settings
        self._kafka_thread = ThreadPoolExecutor(1, thread_name_prefix="kafka")
        self._epochs: Epochs | None = None
        self._topics: list[str] = []
        self._subscribed = asyncio.Event()
        self._assigned: set[TP] = set()
        self._delivered: deque[ConsumerMessage] = deque()
        self._processed = True
        self._failure: BaseException | None = None

    # ── the life of a worker ─────────────────────────────────────────────────────────────────────

    async def on_start(self) -> None:
        """Connect; waits until the broker has settled what a predecessor left open."""
        if not self.app.client_only:
            self._epochs = await self._on_kafka_thread(
                Epochs, self._settings, self._tables, self._tables.outbox
            )

    async def on_stop(self) -> None:
        """Leave the group; what is processed is committed, an epoch that was cut short is not."""
        if self._epochs is not None:
            self._epochs.stop_soon()
            close = functools.partial(self._epochs.close, commit=self._processed)
            await self._on_kafka_thread(close)
        self._kafka_thread.shutdown()

    @Service.task
    async def _run(self) -> None:
        """Epoch by epoch until the worker stops; an exception in here stops it."""
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
                # Streams drop what reaches them while the app is being stopped, and acknowledge it.
                if self.should_stop or not self.app.flow_control.is_active():
                    return
                self._processed = True

    async def _process(self, epoch: list[Records]) -> None:
        """Deliver the epoch to the agents; returns when they have acknowledged all of it.

        What an agent fails on is acknowledged as well, but raised here.
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
        """Tell Faust what is assigned now, and restore the state of what is new."""
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

    async def _on_kafka_thread(self, call: Callable[..., T], *args: Any) -> T:
        """Run `call` on the one thread that `Epochs` may be used from."""
        return await asyncio.get_running_loop().run_in_executor(self._kafka_thread, call, *args)

    async def on_task_error(self, exc: BaseException) -> None:
        """An agent could not process its batch: nothing of this epoch is committed, and we stop."""
        self._failure = exc
        notify(self._waiting_for_ack)

    def delivered(self, message: ConsumerMessage) -> None:
        """Take note of a message that goes to agents: the epoch ends when all are acknowledged.

        Faust's streams mark it and wake us; some of them are compiled and do so without `ack`.
        """
        self._delivered.append(message)

    def _to_message(self, tp: TP, record: Records) -> ConsumerMessage:
        generation = self.app.consumer_generation_id
        return _message(tp, record.next_offset - 1, None, record, generation_id=generation)

    # ── what Faust asks of a consumer ────────────────────────────────────────────────────────────

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Take the topics to read: at first all that agents asked for, later what was added."""
        self._topics = sorted(topics)
        if self._subscribed.is_set() and self._epochs is not None:
            await self._on_kafka_thread(self._epochs.subscribe, self._topics)
        self._subscribed.set()

    def assignment(self) -> set[TP]:
        """The partitions that Faust was last told of."""
        return self._assigned

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: ARG002
        """Nothing: an epoch commits itself."""
        return False

    async def wait_empty(self) -> None:
        """Nothing: between epochs nothing is pending."""

    async def perform_seek(self) -> None:
        """Nothing: a restored partition is read from where its state stands."""

    async def verify_all_partitions_active(self) -> None:
        """Nothing: an epoch that does not end shows in the worker's metrics."""

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        raise NotImplementedError(_BY_EPOCHS)

    async def _getmany(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError(_BY_EPOCHS)

    async def _seek(self, partition: TP, offset: int) -> None:
        raise NotImplementedError(_BY_EPOCHS)

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Refused."""
        raise NotImplementedError(_BY_EPOCHS)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Refused."""
        raise NotImplementedError(_BY_EPOCHS)

    async def position(self, tp: TP) -> int | None:
        """Refused."""
        raise NotImplementedError(_BY_EPOCHS)

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """Refused."""
        raise NotImplementedError(_BY_EPOCHS)

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """Refused."""
        raise NotImplementedError(_BY_EPOCHS)

    def highwater(self, tp: TP) -> int:
        """Refused."""
        raise NotImplementedError(_BY_EPOCHS)

    def topic_partitions(self, topic: str) -> int | None:  # noqa: ARG002
        """Not known here."""
        return None

    def key_partition(self, _: str, __: bytes | None, partition: int | None = None) -> int | None:
        """The partition asked for; without one it is left to the key, as in Java clients."""
        return partition

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    async def create_topic(self, *_: Any, **__: Any) -> None:
        """Nothing: topics are declared in `schemas.topics`."""


class Producer(base.Producer):
    """What `topic.send` writes with: the epoch's transaction; outside a worker, a client's own."""

    _client: KafkaProducer | None = None

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Any,
        *,
        transactional_id: str | None = None,  # noqa: ARG002
    ) -> Awaitable[RecordMetadata]:
        """Write a record.

        In a worker it joins the epoch's transaction: the future that is returned is done at once,
        its offset is -1, and the record's time is when the epoch ends, whatever `timestamp` says.
        Elsewhere, as in `faust send`, the future is done when the broker has acknowledged.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[RecordMetadata] = loop.create_future()
        where = BY_KEY if partition is None else partition
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers or ())
        if self.app.in_worker:
            transport: Any = self.transport
            transport.tables.outbox.send(
                topic, [key], [value], partition=where, headers=[pairs] if pairs else None
            )
            done.set_result(RecordMetadata(topic, where, TP(topic, where), -1))
            return done

        def on_delivery(error: Any, message: Any) -> None:
            if error is not None:
                loop.call_soon_threadsafe(
                    done.set_exception, faust.exceptions.ProducerSendError(str(error))
                )
            else:
                tp = TP(message.topic(), message.partition())
                result = RecordMetadata(*tp, tp, message.offset())
                loop.call_soon_threadsafe(done.set_result, result)

        stamp: dict[str, Any] = {} if timestamp is None else {"timestamp": int(timestamp * 1000)}
        self._kafka().produce(
            topic, value, key, where, headers=pairs or None, on_delivery=on_delivery, **stamp
        )
        await self.flush()
        return done

    async def send_and_wait(self, *args: Any, **kwargs: Any) -> RecordMetadata:
        """Write a record and wait for what `send` says."""
        return await (await self.send(*args, **kwargs))

    async def flush(self) -> None:
        """Wait until what a client has sent is acknowledged; in a worker epochs see to it."""
        if self._client is not None:
            await asyncio.to_thread(self._client.flush)

    def supports_headers(self) -> bool:
        """Headers are written."""
        return True

    async def create_topic(self, *_: Any, **__: Any) -> None:
        """Nothing: topics are declared in `schemas.topics`."""

    def _kafka(self) -> KafkaProducer:
        if self._client is None:
            transport: Any = self.transport
            self._client = KafkaProducer(
                {
                    "bootstrap.servers": transport.settings.bootstrap,
                    "enable.idempotence": True,
                    "partitioner": "murmur2_random",
                }
            )
        return self._client


class Transport(base.Transport):
    """Ties the parts together; how a worker reads and commits is taken from the app's own settings.

    `broker_client_id` names the worker: its transactional id is made of it, so it must be the same
    when a worker is started again and differ between workers.
    """

    Consumer = Consumer
    Producer = Producer
    Conductor = Conductor
    default_port = 9092
    driver_version = "columnar"

    @functools.cached_property
    def settings(self) -> EpochSettings:
        """How the worker reads and commits."""
        conf = self.app.conf
        hosts = (f"{url.host or '127.0.0.1'}:{url.port or self.default_port}" for url in self.url)
        return EpochSettings(
            bootstrap=",".join(hosts),
            group=conf.id,
            transactional_id=f"{conf.id}.{conf.broker_client_id}",
            client_id=conf.broker_client_id,
            max_records=conf.broker_max_poll_records or MAX_RECORDS,
            commit_interval_ms=round(conf.broker_commit_interval * 1000),
            session_timeout_ms=round(conf.broker_session_timeout * 1000),
        )

    @property
    def tables(self) -> TableManager:
        """The app's tables.

        Raises:
            ImproperlyConfigured: the app has another table manager.
        """
        tables = self.app.tables
        if not isinstance(tables, TableManager):
            raise faust.exceptions.ImproperlyConfigured(
                "the columnar transport needs an app with "
                "TableManager='pipelines.worker.tables:TableManager'"
            )
        return tables


_BY_EPOCHS = "the columnar transport reads and commits by epochs only: see pipelines.worker.epochs"


def _single_messages(batch: ConsumerMessage) -> Iterator[ConsumerMessage]:
    records: Any = batch.value
    columns = zip(records.offsets, records.keys, records.values, records.timestamps, strict=True)
    for row, (offset, key, value, timestamp) in enumerate(columns):
        yield _message(
            batch.tp,
            int(offset),
            key,
            value,
            timestamp=float(timestamp) / 1000,
            headers=records.headers(row),
            generation_id=batch.generation_id,
        )


def _message(
    tp: TP,
    offset: int,
    key: bytes | None,
    value: Any,
    *,
    timestamp: float = 0.0,
    headers: Any = None,
    generation_id: int | None,
) -> ConsumerMessage:
    return ConsumerMessage(
        *tp,
        offset,
        timestamp=timestamp,
        timestamp_type=0,
        headers=headers,
        key=key,
        value=value,
        checksum=None,
        tp=tp,
        generation_id=generation_id,
    )
