"""A partition as columns, for its snapshots: `load` reads what `dump` of the same version wrote."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from pipelines.columnar.key_index import KeyIndex
from pipelines.engine.events import OffsetRange
from pipelines.engine.instance import UnloggedRows
from pipelines.engine.operator import StateColumn, StateColumns
from pipelines.engine.partition import Partition
from pipelines.matching.match import Key


class Dump(NamedTuple):
    """Columns by name, and their definitions: the names of the i-th definition begin with `i.`."""

    definitions: list[Key]
    columns: StateColumns


def dump(partition: Partition) -> Dump | None:
    """Copy the columns of all definitions that keep rows.

    A definition that cannot be dumped fails, and then there is no dump: None.
    """
    columns = {f"persons.{name}": own.copy() for name, own in partition.persons.dump().items()}
    instances = [instance for instance in partition.instances.values() if instance.keeps_rows]
    for number, instance in enumerate(instances):
        with instance.failing_alone():
            for name, column in instance.state.dump().items():
                columns[f"{number}.{name}"] = column
    if not all(instance.keeps_rows for instance in instances):
        return None
    return Dump([instance.key for instance in instances], columns)


def load(
    partition: Partition, columns: Mapping[str, StateColumn], unlogged: Mapping[Key, OffsetRange]
) -> None:
    """Load what `dump` returned; definitions that the partition does not have are left out.

    `unlogged` are the definitions in the order of the dump, each with the range of events of which
    the log did not hold everything then; those below its end are in the dump. Rows that waited to
    be logged wait again, for the log has to be complete without the dump.

    Raises:
        Exception: a definition cannot load its columns; the partition is useless then.
    """
    partition.persons = KeyIndex.load(_below("persons", columns))
    for number, (key, (since, stamp)) in enumerate(unlogged.items()):
        instance = partition.instances.get(key)
        if instance is not None:
            instance.state.load(_below(str(number), columns), stamp)
            rows = instance.state.unlogged(np.arange(instance.state.size, dtype=np.int32))
            instance.unlogged.append(UnloggedRows(rows, since, due=0))


def _below(prefix: str, columns: Mapping[str, StateColumn]) -> StateColumns:
    begin = f"{prefix}."
    return {
        name.removeprefix(begin): column
        for name, column in columns.items()
        if name.startswith(begin)
    }
