"""The results of all definitions on their way out, each to the publisher of its operator.

An error that an operator raises while it publishes fails the definition concerned, and so does a
record that is too large for its topic. Nothing is published by halves.
"""

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from pipelines.engine.failed_instance import FailedInstance
from pipelines.engine.failure_records import FailureRecords
from pipelines.engine.instance import AnyInstance
from pipelines.engine.operator import AnyOperator, AnyPublisher, PartitionContext
from pipelines.engine.partition import PartitionChanges
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox
from pipelines.matching.match import Key
from schemas.registry.client import SchemaRegistry
from schemas.settings import Settings

# An instance, and its changes or timeouts: of the types of its operator.
Changed: TypeAlias = tuple[AnyInstance, Any]


class Publishers:
    """The publishers of all operators. Registers their schemas, so it may block."""

    def __init__(
        self,
        operators: Iterable[AnyOperator],
        settings: Settings,
        registry: SchemaRegistry,
        outbox: Outbox,
    ) -> None:
        self._outbox = outbox
        self._publishers: dict[str, AnyPublisher] = {}
        self._failures: dict[str, FailureRecords] = {}
        for operator in operators:
            self._publishers[operator.name] = operator.publisher(settings, registry, outbox)
            self._failures[operator.name] = FailureRecords(
                operator.spec, settings.topics, registry, outbox
            )

    def follow(self) -> None:
        """Read what results depend on besides events, between two epochs."""
        for publisher in self._publishers.values():
            publisher.follow()

    @property
    def caught_up(self) -> bool:
        """Whether `follow` has read all that was there when it began."""
        return all(publisher.caught_up for publisher in self._publishers.values())

    def publish(self, context: PartitionContext, changes: PartitionChanges) -> None:
        """Publish what changed for persons, of all definitions of an operator together."""
        for operator, changed in _by_operator(changes.changes).items():
            self._publish(self._publishers[operator].changes, context, changed)
        for operator, timeouts in _by_operator(changes.timeouts).items():
            self._publish(self._publishers[operator].expired, context, timeouts)

    def _publish(
        self,
        publish: Callable[[PartitionContext, Sequence[Changed]], None],
        context: PartitionContext,
        changed: Sequence[Changed],
    ) -> None:
        try:
            with self._outbox.all_or_nothing():
                publish(context, changed)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 (an operator may raise anything; below, one by one)
            for one in changed:
                with one[0].failing_alone(), self._outbox.all_or_nothing():
                    publish(context, [one])

    def publish_aggregates(
        self, context: PartitionContext, instances: Iterable[AnyInstance]
    ) -> None:
        """Publish the periods that are unpublished, of each definition that has any."""
        for instance in instances:
            if not instance.unpublished:
                continue
            instance.note_behind(context.now_ms)
            if self._publish_aggregates(context, instance):
                instance.unpublished.clear()

    def _publish_aggregates(self, context: PartitionContext, instance: AnyInstance) -> bool:
        """Publish what is unpublished; return false if the next commit has to try again."""
        operator, total = instance.key.operator, instance.total
        if instance.suspended or not instance.failed:
            with instance.failing_alone(), self._outbox.all_or_nothing():
                self._publishers[operator].aggregates(context, instance)
                return True
        # What it has counted since it was published last may be incomplete.
        instance.total = total
        return self._failures[operator].publish(context, instance)

    def restore(
        self, partition: int, instances: Mapping[Key, AnyInstance], reader: Reader
    ) -> Generator[None, None, None]:
        """Load what is published, in steps; delete what is of no definition any more."""
        for operator, publisher in self._publishers.items():
            own = {key: one for key, one in instances.items() if key.operator == operator}
            yield from publisher.restore(partition, own, reader)

    def forget(self, context: PartitionContext, instance: AnyInstance) -> None:
        """Delete what is published of a definition that ends."""
        operator = instance.key.operator
        if isinstance(instance, FailedInstance):
            self._failures[operator].forget(context.partition, instance)
            return
        with instance.failing_alone(), self._outbox.all_or_nothing():
            self._publishers[operator].forget(context, instance)

    def supersede(self, context: PartitionContext, instance: AnyInstance) -> None:
        """Publish what was held back as long as an earlier version of a definition counted."""
        if not isinstance(instance, FailedInstance):
            with instance.failing_alone(), self._outbox.all_or_nothing():
                self._publishers[instance.key.operator].supersede(context, instance)


def _by_operator(changed: Iterable[Changed]) -> dict[str, list[Changed]]:
    operators: defaultdict[str, list[Changed]] = defaultdict(list)
    for instance, changes in changed:
        operators[instance.key.operator].append((instance, changes))
    return dict(operators)
