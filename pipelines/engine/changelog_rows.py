"""What a partition's changelog holds: which rows are to be logged, and how they are encoded.

Two kinds of records hold rows (`pipelines.engine.person_record`): one per person with the rows of
all definitions, and one for a single row that cannot wait. A row's latest record counts.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.columnar.jit import Int32s
from pipelines.columnar.string_column import ArrowColumn, StringColumn
from pipelines.engine.constants import NONE
from pipelines.engine.instance import AnyInstance
from pipelines.engine.operator import Packed
from pipelines.engine.parallel import in_parallel
from pipelines.engine.partition import Partition
from pipelines.engine.person_record import Part, join, person_key, person_keys, row_keys, split
from pipelines.matching.match import Key

KeysAndValues: TypeAlias = tuple[ArrowColumn, ArrowColumn]

_PACKED_BATCH: Final = 5_000  # persons: their records come to some kilobytes each


def pack_due(partition: Partition, now_ms: int) -> Iterator[KeysAndValues]:
    """Yield keys and values of the records that are due at `now_ms`, a part at a time.

    Their rows count as logged from then on. A definition that cannot be packed fails.
    """
    for instance in partition.instances.values():
        parts, instance.flush_now = instance.flush_now, []
        if parts:
            rows = np.unique(np.concatenate(parts))
            for begin in range(0, len(rows), _PACKED_BATCH):
                yield from _pack_rows(partition, instance, rows[begin : begin + _PACKED_BATCH])
    due: defaultdict[str, list[Int32s]] = defaultdict(list)
    for key, instance in partition.instances.items():
        if persons := instance.persons_due(now_ms):
            due[key.project] += persons
    for project, parts in due.items():
        slots = np.unique(np.concatenate(parts))
        for begin in range(0, len(slots), _PACKED_BATCH):
            yield from _pack_persons(partition, project, slots[begin : begin + _PACKED_BATCH])


def _pack_rows(
    partition: Partition, instance: AnyInstance, rows: Int32s
) -> Iterator[KeysAndValues]:
    with instance.failing_alone():
        packed = instance.state.pack(rows, partition.position_of(instance))
        keys = _row_keys(partition, instance, instance.state.persons_of(rows))
        part = Part(instance.tag, np.arange(len(rows)), packed)
        for some, records in list(join(len(rows), [part])):
            yield keys[some], records


def _row_keys(partition: Partition, instance: AnyInstance, persons: Int32s) -> ArrowColumn:
    return row_keys(instance.tag, instance.key.project, partition.persons.second(persons))


def _pack_persons(partition: Partition, project: str, persons: Int32s) -> Iterator[KeysAndValues]:
    def pack(instance: AnyInstance) -> Part | None:
        with instance.failing_alone():
            rows = instance.state.rows_of(persons)
            places = np.flatnonzero(rows != NONE)
            packed = instance.state.pack(rows[places], partition.position_of(instance))
            return Part(instance.tag, places, packed)
        return None

    logged = [instance for instance in _of_project(partition, project) if instance.keeps_rows]
    parts = [part for part in in_parallel(pack, logged) if part is not None]
    keys = person_keys(project, partition.persons.second(persons))
    for some, records in join(len(persons), parts):
        yield keys[some], records


def unpack(partition: Partition, keys: list[bytes], values: list[bytes]) -> NDArray[np.bool_]:
    """Load logged records, in the order in which they were logged.

    Returns for each record whether it holds a row of one of the partition's definitions. A
    definition fails if its rows cannot be unpacked.
    """
    starts, data = StringColumn.of(pa.array(values, pa.binary()))
    parts = split(data, starts.astype(np.int64))
    by_tag = {int(instance.tag): instance for instance in partition.instances.values()}
    known = [tag for tag in np.unique(parts.tags).tolist() if tag in by_tag]
    kept = np.zeros(len(keys), np.bool_)
    for tag in known:
        kept[parts.records[parts.tags == tag]] = True
    names: ArrowColumn = pa.array(map(person_key, keys), pa.binary())
    names = pc.split_pattern(names, "/", max_splits=1)
    projects, persons = (StringColumn.of(pc.list_element(names, place)) for place in (0, 1))
    slots = np.zeros(len(keys), np.int32)
    slots[kept] = partition.persons.intern(projects, persons, np.flatnonzero(kept))

    def unpack_one(tag: int) -> None:
        own = np.flatnonzero(parts.tags == tag)
        # A row may be in its person's record and in one of its own: the later one counts.
        owners, last = np.unique(slots[parts.records[own]][::-1], return_index=True)
        own = own[::-1][last]
        rows = Packed(data, parts.begins[own], parts.ends[own])
        with by_tag[tag].failing_alone():
            by_tag[tag].state.unpack(len(partition.persons), owners, rows)

    for _ in in_parallel(unpack_one, known):
        pass
    return kept


def keys_only_of(partition: Partition, key: Key) -> list[bytes]:
    """Return the keys of the records that hold rows of this definition and of no other.

    They are those of its single rows, and of the persons who have no row of another definition.
    """
    instance = partition.instances[key]
    state = instance.state
    persons = state.persons_of(np.arange(state.size, dtype=np.int32))
    single_rows = _row_keys(partition, instance, persons)
    alone = np.ones(len(persons), np.bool_)
    for other in _of_project(partition, key.project):
        if other is not instance:
            alone &= other.state.rows_of(persons) == NONE
    last = person_keys(key.project, partition.persons.second(persons[alone]))
    keys: list[bytes] = single_rows.to_pylist() + last.to_pylist()
    return keys


def _of_project(partition: Partition, project: str) -> list[AnyInstance]:
    return [one for key, one in partition.instances.items() if key.project == project]
