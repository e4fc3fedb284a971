"""Finds the models of predictions that were deleted while no worker ran."""

from collections import defaultdict
from collections.abc import Collection, Generator

from pipelines.kafka.reader import Reader
from pipelines.kafka.records import TopicPartition
from pipelines.matching.match import Key
from pipelines.operators.prediction.champions import TaskKey
from schemas.examples.columns import Task, feature_schema_of
from schemas.model_keys import ModelKey


def find_orphans(
    topic: str, ended: Collection[Key], reader: Reader
) -> Generator[None, None, list[Task]]:
    """Return, in steps, a task for each version in `ended` that has models left.

    Of a task, only its id and the names of its models are true: the rest is not known any more,
    and not needed to end it.
    """
    names: defaultdict[TaskKey, set[str]] = defaultdict(set)
    versions = {(key.project, key.id, key.version) for key in ended}
    for partition in range(reader.partitions(topic)):
        for records in reader.read(TopicPartition(topic, partition), 0):
            if records is None:
                yield
                continue
            for key, value in zip(records.keys, records.values, strict=True):
                try:
                    of = ModelKey.parse(key or b"")
                except ValueError:
                    continue  # the trainer logs it
                if of[:3] in versions:
                    change = names[TaskKey._make(of[:4])]
                    (change.discard if value is None else change.add)(of.model)
            yield
    return [_task(key, sorted(models)) for key, models in names.items() if models]


def _task(key: TaskKey, models: list[str]) -> Task:
    features = ("ended",)
    schema = feature_schema_of(features, 0)
    return Task(*key, "performs", 1, 0, tuple(models), features, schema)
