"""The trainer: questions and outcomes in, models out.

    avila.examples ─▶ decode ─▶ fold ─▶ learn what is due ─▶ avila.models  once a second at most
                                                          └▶ avila.model-events

A pure fold of its log: no model depends on the time of day, nor on when models are published. The
models are published in the transaction that commits how far the log is folded. After a restart
training continues from them: records with questions that are still open are read again, and
nothing is learned twice.
"""

from collections.abc import Iterator, Mapping

from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox, Records, TopicPartition
from pipelines.trainer.events import ModelEventsTopic
from pipelines.trainer.examples_reader import ExamplesReader
from pipelines.trainer.model_log import ModelCodec, TaskId
from pipelines.trainer.models_topic import ModelsTopic, StoredModels, earliest
from pipelines.trainer.partition import TrainerPartition
from pipelines.trainer.rebuilds import Rebuilds
from pipelines.worker.tables import Table
from pipelines.worker.telemetry import stage
from schemas.avro import files
from schemas.registry.client import SchemaRegistry
from schemas.registry.subjects import value_subject
from schemas.settings import Settings

_LIVE_PER_REBUILD = 3.0


class Trainer(Table):
    """Learns all predictions whose examples are in the partitions that this worker has."""

    name = "examples"
    help = "Questions of predictions that are still open"

    def __init__(self, settings: Settings, outbox: Outbox) -> None:
        self.source = settings.topics.examples.name
        self.outputs = (settings.topics.models.name,)
        self._settings = settings
        self._outbox = outbox
        self._log_id = ""
        self._partitions: dict[int, TrainerPartition] = {}

    def connect(self, registry: SchemaRegistry, codec: ModelCodec) -> None:
        """Register the schemas; call it once, before anything else. Blocks."""
        topics = self._settings.topics
        registry.register(value_subject(topics.examples.name), files.load("example"))
        self._codec = codec
        self._examples = ExamplesReader(registry)
        self._models = ModelsTopic(topics.models.name, codec, self._outbox)
        self._events = ModelEventsTopic(topics.model_events.name, registry, self._outbox)
        self._rebuilds = Rebuilds(self._settings.cluster, self.source, codec, self._examples)

    def bind(self, log_id: str) -> None:
        """Say which log is folded: models that were learned from another one are refused."""
        self._log_id = log_id

    def fold(self, records: Records) -> None:
        """Fold a batch of examples; if a definition has ended, its models are deleted."""
        with stage("trainer"):
            number = records.source.partition
            partition = self._partitions[number]
            for logged in self._examples.read(records):
                partition.fold(logged)
                if logged.examples.ended:
                    self._models.delete(number, logged.examples.task)
            self._events.publish(number, partition.take_events())
            partition.position = records.next_offset

    def flush(self, positions: Mapping[int, int], now_ms: int) -> None:
        """Publish the models that have changed: once a second at most, large ones less often."""
        for number, position in positions.items():
            partition = self._partitions.get(number)
            if partition is not None:
                self._events.publish(number, partition.take_events())
                for fold in partition.due(now_ms):
                    size = self._models.publish(number, fold, position, self._log_id)
                    partition.published(TaskId.of(fold.task), size, now_ms)

    @property
    def rows(self) -> int:
        """The number of open questions."""
        return sum(
            fold.open
            for partition in list(self._partitions.values())
            for fold in list(partition.folds.values())
        )

    @property
    def nbytes(self) -> int:
        """The memory that they take in bytes, spare room included."""
        return sum(
            fold.nbytes
            for partition in list(self._partitions.values())
            for fold in list(partition.folds.values())
        )

    # ── restoring ────────────────────────────────────────────────────────────────────────────────

    def restore(self, partition: int, committed: int, reader: Reader) -> Iterator[None]:
        """Restore models and open questions as of source offset `committed`, in steps."""
        stored = StoredModels({}, frozenset(), ())
        for step in self._models.read(partition, committed, self._log_id, reader):
            stored = stored if step is None else step
            yield
        restored = TrainerPartition(self._codec, committed, *stored)
        begin = 0 if stored.unreadable else earliest(stored.readable)
        if begin is not None:
            source = TopicPartition(self.source, partition)
            for records in reader.read(source, begin, committed):
                for logged in self._examples.read(records) if records is not None else ():
                    restored.fold(logged)
                yield
        self._partitions[partition] = restored

    def drop(self, partition: int) -> None:
        """Drop a partition, in memory only."""
        self._partitions.pop(partition, None)
        self._rebuilds.drop(partition)

    def snapshot(self, positions: Mapping[int, int], reader: Reader) -> None:
        """Do nothing: the models are on their topic, and little has to be read again."""

    # ── learning again ───────────────────────────────────────────────────────────────────────────

    @property
    def backfilling(self) -> bool:
        """Whether a model of any partition has to be learned again."""
        return any(partition.rebuilds for partition in self._partitions.values())

    @property
    def live_per_past(self) -> float:
        """How long live records are processed, if they wait, per time that `catch_up` takes."""
        return _LIVE_PER_REBUILD if self.backfilling else 0.0

    def catch_up(self) -> None:
        """Learn one batch again of a partition whose models lack it."""
        for number, partition in self._partitions.items():
            if partition.rebuilds:
                self._rebuilds.step(number, partition)
                return
