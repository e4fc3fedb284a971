"""A publisher of aggregates, from which the publishers of all operators inherit."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from typing import Generic, TypeVar

from pipelines.engine.aggregates_topic import AggregatesTopic
from pipelines.engine.instance import AnyInstance
from pipelines.engine.operator import Changed, ChangeRecords, PartitionContext, Record
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox
from pipelines.matching.match import Key
from schemas.operators.spec import OperatorSpec
from schemas.registry.client import SchemaRegistry
from schemas.topics import Topics

N = TypeVar("N", bound=AnyInstance)
C = TypeVar("C")


class AggregatesPublisher(ABC, Generic[N, C]):
    """A `Publisher` that writes one record a period to the operator's topic of aggregates.

    It publishes nothing of persons; an operator that does overrides `changes` and `expired`.
    `period` is the name of the schema's field for the begin of a period. Registers the schema, so
    making one may block.
    """

    def __init__(
        self,
        spec: OperatorSpec,
        period: str,
        topics: Topics,
        registry: SchemaRegistry,
        outbox: Outbox,
    ) -> None:
        self._aggregates = AggregatesTopic(
            spec.name,
            spec.aggregates.topic(topics),
            spec.aggregates.schema,
            period,
            registry,
            outbox,
        )

    # ── what an operator adds ────────────────────────────────────────────────────────────────────

    @abstractmethod
    def record(self, instance: N, period: int) -> Record | None:
        """Return the operator's own fields of a period, or of `TOTAL`; None deletes its record."""

    @abstractmethod
    def load(self, instance: N, record: Record) -> None:
        """Continue from a published record, which has the begin of the period, null for `TOTAL`."""

    def begin(self, instance: N, period: int) -> int:  # noqa: ARG002 (periods of days need none)
        """Return the begin of a period, as the schema has it: by default the period itself."""
        return period

    # ── the contract ─────────────────────────────────────────────────────────────────────────────

    def follow(self) -> None:
        """Do nothing: results depend on events alone."""

    @property
    def caught_up(self) -> bool:
        """True: there is nothing to follow."""
        return True

    def changes(self, context: PartitionContext, changed: Changed[N, C]) -> None:
        """Publish nothing: there is no topic of persons."""

    def expired(self, context: PartitionContext, expired: Changed[N, ChangeRecords]) -> None:
        """Publish nothing: there is no topic of persons."""

    def aggregates(self, context: PartitionContext, instance: N) -> None:
        """Publish the periods that are unpublished, and the total."""
        self._aggregates.publish(
            context,
            instance,
            lambda period: self.record(instance, period),
            lambda period: self.begin(instance, period),
        )

    def restore(
        self, partition: int, instances: Mapping[Key, N], reader: Reader
    ) -> Generator[None, None, None]:
        """Load the published aggregates in steps, and delete those of definitions that ended."""
        yield from self._aggregates.restore(partition, instances, reader, self.load)

    def forget(self, context: PartitionContext, instance: N) -> None:
        """Delete the aggregates of a definition that ends."""
        self._aggregates.forget(
            context.partition, instance, lambda period: self.begin(instance, period)
        )

    def supersede(self, context: PartitionContext, instance: N) -> None:
        """Publish nothing: records of all versions are published as they come."""
