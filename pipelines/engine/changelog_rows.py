"""What a partition's changelog holds: which rows are to be logged, and how they are encoded.

Two kinds of records hold rows (`pipelines.engine.person_record`): one per person with the rows of
all definitions, and one for a single row, which cannot wait or does not fit into its person's
record. A row's latest record counts.

No record is larger than a limit: rows that exceed it together are logged one by one, and a
definition with a row that exceeds it alone fails.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.columnar.jit import Int32s, Int64s
from pipelines.columnar.string_column import ArrowColumn, StringColumn
from pipelines.engine.constants import NONE
from pipelines.engine.instance import AnyInstance
from pipelines.engine.operator import Packed
from pipelines.engine.parallel import in_parallel
from pipelines.engine.partition import Partition
from pipelines.engine.person_record import (
    MAX_RECORD_BYTES,
    Part,
    join,
    person_key,
    person_keys,
    record_sizes,
    row_keys,
    row_tag,
    split,
)
from pipelines.matching.match import Key

KeysAndValues: TypeAlias = tuple[ArrowColumn, ArrowColumn]

_PACKED_BATCH: Final = 5_000  # persons: their records come to some kilobytes each


def pack_due(
    partition: Partition, now_ms: int, max_bytes: int = MAX_RECORD_BYTES
) -> Iterator[KeysAndValues]:
    """Yield keys and values of the records that are due at `now_ms`, a part at a time.

    No record has more than `max_bytes`, key and value. Their rows count as logged from then on. A
    definition that cannot be packed fails.
    """
    for instance in partition.instances.values():
        parts, instance.flush_now = instance.flush_now, []
        if parts:
            rows = np.unique(np.concatenate(parts))
            for begin in range(0, len(rows), _PACKED_BATCH):
                batch = rows[begin : begin + _PACKED_BATCH]
                yield from _pack_rows(partition, instance, batch, max_bytes)
    due: defaultdict[str, list[Int32s]] = defaultdict(list)
    for key, instance in partition.instances.items():
        if persons := instance.persons_due(now_ms):
            due[key.project] += persons
    for project, parts in due.items():
        slots = np.unique(np.concatenate(parts))
        for begin in range(0, len(slots), _PACKED_BATCH):
            batch = slots[begin : begin + _PACKED_BATCH]
            yield from _pack_persons(partition, project, batch, max_bytes)


def _pack_rows(
    partition: Partition, instance: AnyInstance, rows: Int32s, max_bytes: int
) -> Iterator[KeysAndValues]:
    with instance.failing_alone():
        packed = instance.state.pack(rows, partition.position_of(instance))
        persons = instance.state.persons_of(rows)
        yield from list(_single_rows(partition, instance, persons, packed, max_bytes))


def _single_rows(
    partition: Partition, instance: AnyInstance, persons: Int32s, rows: Packed, max_bytes: int
) -> Iterator[KeysAndValues]:
    """Yield a record for each row.

    Raises:
        ValueError: a record would be too large.
    """
    keys = _row_keys(partition, instance, persons)
    parts = [Part(instance.tag, np.arange(len(rows)), rows)]
    largest = int((_key_sizes(keys) + record_sizes(len(rows), parts)).max(initial=0))
    if largest > max_bytes:
        raise ValueError(
            f"the row of a person takes {largest} bytes in the changelog; accepted are {max_bytes}"
        )
    for some, records in join(len(rows), parts):
        yield keys[some], records


def _row_keys(partition: Partition, instance: AnyInstance, persons: Int32s) -> ArrowColumn:
    return row_keys(instance.tag, instance.key.project, partition.persons.second(persons))


def _key_sizes(keys: ArrowColumn) -> Int64s:
    lengths: ArrowColumn = pc.binary_length(keys)
    sizes: Int64s = lengths.to_numpy().astype(np.int64)
    return sizes


def _pack_persons(
    partition: Partition, project: str, persons: Int32s, max_bytes: int
) -> Iterator[KeysAndValues]:
    def pack(instance: AnyInstance) -> _PackedRows | None:
        with instance.failing_alone():
            rows = instance.state.rows_of(persons)
            places = np.flatnonzero(rows != NONE)
            rows = rows[places]
            unlogged = instance.state.unlogged(rows)
            packed = instance.state.pack(rows, partition.position_of(instance))
            return _PackedRows(instance, rows, unlogged, Part(instance.tag, places, packed))
        return None

    logged = [instance for instance in _of_project(partition, project) if instance.keeps_rows]
    packed = [one for one in in_parallel(pack, logged, len(persons)) if one is not None]
    parts = [one.part for one in packed]
    keys = person_keys(project, partition.persons.second(persons))
    large = _key_sizes(keys) + record_sizes(len(persons), parts) > max_bytes
    if large.any():
        for one in packed:
            yield from one.log_singly(partition, large, max_bytes)
        places = np.cumsum(~large) - 1
        parts = [_of_records(part, ~large, places) for part in parts]
        keys = keys.filter(~large)
    for some, records in join(len(keys), parts):
        yield keys[some], records


class _PackedRows(NamedTuple):
    """Rows of one definition that are packed, and which of them were not logged yet."""

    instance: AnyInstance
    rows: Int32s
    unlogged: Int32s
    part: Part

    def log_singly(
        self, partition: Partition, large: NDArray[np.bool_], max_bytes: int
    ) -> Iterator[KeysAndValues]:
        """Yield a record for each row that is not logged yet, of the records that are too `large`.

        The others are in the log as they are: the person's record is not written again.
        """
        with self.instance.failing_alone():
            taken = large[self.part.persons]
            taken &= np.isin(self.rows, self.unlogged)
            persons = self.instance.state.persons_of(self.rows[taken])
            packed = self.part.rows.filter(taken)
            yield from list(_single_rows(partition, self.instance, persons, packed, max_bytes))


def _of_records(part: Part, kept: NDArray[np.bool_], places: NDArray[np.intp]) -> Part:
    """Return the rows of a part in the records that are `kept`; `places` are their new places."""
    own = kept[part.persons]
    return Part(part.tag, places[part.persons[own]], part.rows.filter(own))


def unpack(partition: Partition, keys: list[bytes], values: list[bytes]) -> NDArray[np.bool_]:
    """Load logged records, in the order in which they were logged.

    Returns for each record whether it holds a row of one of the partition's definitions. A
    definition fails if its rows cannot be unpacked, and all that the record may be of fail if it
    is malformed.
    """
    names: ArrowColumn = pa.array(map(person_key, keys), pa.binary())
    slashes: ArrowColumn = pc.match_substring(names, "/")
    named: NDArray[np.bool_] = slashes.to_numpy(zero_copy_only=False)
    starts, data = StringColumn.of(pa.array(values, pa.binary()))
    parts = split(data, starts.astype(np.int64))
    by_tag = {int(instance.tag): instance for instance in partition.instances.values()}
    known = [tag for tag in np.unique(parts.tags).tolist() if tag in by_tag]
    kept = np.zeros(len(keys), np.bool_)
    for tag in known:
        kept[parts.records[parts.tags == tag]] = True
    kept &= named
    for record in parts.malformed[named[parts.malformed]].tolist():
        kept[record] = _fail_owners(partition, keys[record])
    names = pc.split_pattern(pc.if_else(named, names, b"/"), "/", max_splits=1)
    projects, persons = (StringColumn.of(pc.list_element(names, place)) for place in (0, 1))
    slots = np.zeros(len(keys), np.int32)
    slots[kept] = partition.persons.intern(projects, persons, np.flatnonzero(kept))

    def unpack_one(tag: int) -> None:
        own = np.flatnonzero((parts.tags == tag) & kept[parts.records])
        # A row may be in its person's record and in one of its own: the later one counts.
        owners, last = np.unique(slots[parts.records[own]][::-1], return_index=True)
        own = own[::-1][last]
        rows = Packed(data, parts.begins[own], parts.ends[own])
        with by_tag[tag].failing_alone():
            by_tag[tag].state.unpack(len(partition.persons), owners, rows)

    for _ in in_parallel(unpack_one, known, len(keys)):
        pass
    return kept


def _fail_owners(partition: Partition, key: bytes) -> bool:
    """Fail the definitions that a malformed record may have rows of; return if there are any."""
    project, tag = person_key(key).split(b"/", 1)[0].decode("utf-8", "replace"), row_tag(key)
    owners = [
        instance
        for instance in _of_project(partition, project)
        if instance.state.by_person and tag in (None, int(instance.tag))
    ]
    for instance in owners:
        if not instance.failed:
            instance.fail(ValueError(f"the record {key!r} of the state is malformed"))
    return bool(owners)


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
