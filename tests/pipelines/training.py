"""The trainer in this process, on a real broker: examples in, models out.

It commits when it is told to, at a time that it is told.
"""

import random
from collections.abc import Iterable, Sequence

from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox, TopicPartition
from pipelines.kafka.retry import retrying
from pipelines.trainer.fold import TaskFold
from pipelines.trainer.model_codec import RecordCodec
from pipelines.trainer.model_learner import ModelLearner
from pipelines.trainer.model_log import TaskId
from pipelines.trainer.trainer import Trainer
from schemas.avro import files
from schemas.avro.codec import Codec, Encoder
from schemas.examples.codec import key_of, to_record
from schemas.examples.columns import Examples, Task
from schemas.model_record import ModelRecord, from_fields
from schemas.registry.subjects import value_subject
from schemas.settings import Settings
from tests.kafka import Record, read_all
from tests.oracles.training import Learned, judge
from tests.pipelines.examples import Seen, Source
from tests.pipelines.in_process import produce, registry_of, write

PARTITION = 0


class Training:
    """Trains in partition 0 of a deployment."""

    def __init__(self, settings: Settings, position: int = 0) -> None:
        self.settings = settings
        self.outbox = Outbox()
        registry = registry_of(settings.bootstrap)
        self.trainer = Trainer(settings, self.outbox)
        self.trainer.connect(registry, RecordCodec(registry, settings.topics.models.name))
        self.position = position
        self._reader = Reader(settings.bootstrap)
        self._source = TopicPartition(settings.topics.examples.name, PARTITION)
        self.trainer.bind(self._reader.log_id(self._source.topic))
        retrying(self._restore)  # a topic may have been made just now

    def _restore(self) -> None:
        for _ in self.trainer.restore(PARTITION, self.position, self._reader):
            pass

    def fold(self, count: int | None = None) -> "Training":
        """Fold the next records of the topic, all that are left if `count` is not given."""
        _, end = self._reader.bounds(self._source)
        if count is not None:
            end = min(end, self.position + count)
        for records in self._reader.read(self._source, self.position, end):
            if records is not None:
                self.trainer.fold(records)
                self.position = records.next_offset
        return self

    def commit(self, now_ms: int) -> "Training":
        """Publish what is due at a time."""
        self.trainer.flush({PARTITION: self.position}, now_ms)
        write(self.settings, self.outbox.take())
        return self

    def restarted(self) -> "Training":
        """End, and return another trainer, which goes on from what this one has committed."""
        self.close()
        return Training(self.settings, self.position)

    def learn_again(self) -> None:
        """Let rebuilds end."""
        while self.trainer.backfilling:
            self.trainer.catch_up()

    def close(self) -> None:
        self._reader.close()

    def fold_of(self, task: Task) -> TaskFold:
        return self.trainer._partitions[PARTITION].folds[TaskId.of(task)]

    def model_of(self, task: Task, name: str) -> ModelLearner:
        found = next(one for one in self.fold_of(task).learners if one.name == name)
        assert isinstance(found, ModelLearner)
        return found


def store_examples(settings: Settings, log: Iterable[Examples | bytes]) -> None:
    """Write records of examples, in this order."""
    topic, schema = settings.topics.examples.name, files.load("example")
    registry = registry_of(settings.bootstrap)
    encoder = Encoder(schema, registry.register(value_subject(topic), schema))
    records = []
    for one in log:
        if isinstance(one, bytes):
            records.append(Record(one, b"shop/buys", PARTITION))
        else:
            (value,) = encoder.encode_records([to_record(one)])
            records.append(Record(value, key_of(one.task), PARTITION))
    produce(settings, topic, records)


def published(settings: Settings) -> dict[bytes, ModelRecord]:
    """The latest record of every model that has not ended, by key, if it can be decoded."""
    topic = settings.topics.models.name
    codec = Codec(files.load("model"), registry_of(settings.bootstrap).find)
    latest = {message.key(): message.value() for message in read_all(settings.bootstrap, topic)}
    found = {}
    for key, value in latest.items():
        if key is not None and value is not None:
            for fields in codec.decode([value]).batch.to_pylist():
                found[key] = from_fields(fields)
    return found


def a_history(of: Task, number: int, events: int = 600) -> Source:
    """A source partition with `some_events`."""
    return Source(of, number, some_events(of, number, events))


def some_events(of: Task, number: int, events: int = 600) -> list[Seen]:
    """Events of a few persons: who has just asked more often answers soon. Some come late."""
    rng = random.Random(f"{of.name}/{number}")
    at, history = 1_000, []
    for _ in range(events):
        at += rng.randrange(4)
        late = rng.randrange(of.lateness_ms + 9) if rng.random() < 0.1 else 0
        value = float(rng.randrange(1, 5)) if rng.random() < 0.2 else None
        history.append(Seen(at - late, rng.randrange(1, 9), rng.random() < 0.5, value))
    return history


def a_log(sources: Sequence[Source], seed: int = 0) -> list[Examples]:
    """The records of some source partitions, cut and interleaved at random."""
    rng = random.Random(seed)
    queues = [
        source.cut(rng.sample(range(1, len(source.clocks)), len(source.clocks) // 9))
        for source in sources
    ]
    turns = [number for number, queue in enumerate(queues) for _ in queue]
    rng.shuffle(turns)
    return [queues[number].pop(0) for number in turns]


def maturity_order(sources: Sequence[Source], log: Iterable[Examples]) -> list[tuple[int, Learned]]:
    """What is learned, in order, with its source partition, by the oracle: record after record."""
    by_number = {source.number: source for source in sources}
    order: list[tuple[int, Learned]] = []
    known: dict[int, int] = {}
    for record in log:
        source, of = by_number[record.partition], record.task
        judged = judge(
            [one for one in source.asked if one.offset < record.position],
            [one for one in source.happened if one.offset < record.position],
            record.clock,
            of.target,
            of.horizon_ms,
            of.lateness_ms,
        )
        order += [(source.number, one) for one in judged.learned[known.get(source.number, 0) :]]
        known[source.number] = len(judged.learned)
    return order
