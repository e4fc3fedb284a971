"""What the records of all operators on what changed for a person begin with, and their keys.

All changes of an operator's definitions are encoded together: columns are expensive by the call,
and cheap by the row.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pipelines.columnar.jit import Int32s
from pipelines.columnar.key_index import prefixed
from pipelines.columnar.string_column import ArrowColumn
from pipelines.engine.instance import AnyInstance
from pipelines.engine.operator import PartitionContext


def columns_and_keys(
    context: PartitionContext, changed: Sequence[tuple[AnyInstance, Int32s]]
) -> tuple[list[ArrowColumn], ArrowColumn]:
    """Return the columns of project, definition, version and person for rows of definitions.

    Beside them, the keys of the records: `project/definition/person`.
    """
    keys = [instance.key for instance, _ in changed]
    owners = np.repeat(np.arange(len(changed)), [len(rows) for _, rows in changed])
    slots = [instance.state.persons_of(rows) for instance, rows in changed]
    persons = context.persons.second(np.concatenate(slots))
    columns = [
        pa.array([key.project for key in keys]).take(owners),
        pa.array([key.id for key in keys]).take(owners),
        pa.array([key.version for key in keys], pa.int32()).take(owners),
        persons,
    ]
    prefixes = pa.array([f"{key.project}/{key.id}/" for key in keys]).take(owners)
    return columns, prefixed(prefixes, persons)
