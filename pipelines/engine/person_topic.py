"""A compacted topic with one record a person and definition: `project/definition/person`."""

from collections.abc import Generator, Sequence

from pipelines.columnar.key_index import prefixed
from pipelines.columnar.string_column import ArrowColumn
from pipelines.engine.instance import AnyInstance
from pipelines.engine.operator import PartitionContext, Record
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox, TopicPartition
from pipelines.matching.match import Key
from schemas.avro import files
from schemas.avro.codec import Codec, Encoder
from schemas.operators.spec import OperatorSpec
from schemas.registry.client import SchemaRegistry
from schemas.registry.subjects import value_subject
from schemas.topics import Topics


class PersonTopic:
    """The first topic of an operator's changes. Registers its schema, so making one may block.

    The schema has `project_id`, `<operator>_id`, `version` and `person_id`.
    """

    def __init__(
        self, spec: OperatorSpec, topics: Topics, registry: SchemaRegistry, outbox: Outbox
    ) -> None:
        result = spec.changes[0]
        self._operator, self._outbox = spec.name, outbox
        self.name = result.topic(topics).name
        schema = files.load(result.schema)
        self.encoder = Encoder(schema, registry.register(value_subject(self.name), schema))
        self._decode = Codec(schema, registry.find, shipped=files.history(result.schema)).decode

    def send(self, partition: int, key: Key, records: Sequence[Record]) -> None:
        """Publish records of some persons for one definition."""
        keys = [f"{key.project}/{key.id}/{record['person_id']}".encode() for record in records]
        values = self.encoder.encode_records(records)
        self._outbox.send(self.name, keys, values, partition=partition)

    def forget(self, context: PartitionContext, instance: AnyInstance) -> None:
        """Delete the records of a definition's `published_persons`."""
        _, project, name, _ = instance.key
        persons = context.persons.second(instance.state.published_persons)
        self._delete(context.partition, prefixed(f"{project}/{name}/", persons))

    def delete_ended(
        self, partition: int, ended: set[Key], reader: Reader
    ) -> Generator[None, None, None]:
        """Delete the persons whose latest record is one of a definition that has ended."""
        stale: dict[bytes, None] = {}
        for records in reader.read(TopicPartition(self.name, partition), 0):
            if records is not None:
                decoded = self._decode(records.values)
                names = ("project_id", f"{self._operator}_id", "version")
                columns = (decoded.batch.column(name).to_pylist() for name in names)
                for row, *version in zip(decoded.rows.tolist(), *columns, strict=True):
                    key = records.keys[row] or b""
                    if Key(self._operator, *version) in ended:
                        stale[key] = None
                    else:
                        stale.pop(key, None)
                for failure in decoded.failures:
                    stale.pop(records.keys[failure.row] or b"", None)
            yield
        self._delete(partition, list(stale))

    def _delete(self, partition: int, keys: list[bytes] | ArrowColumn) -> None:
        self._outbox.send(self.name, keys, [None] * len(keys), partition=partition)
