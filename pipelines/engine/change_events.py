"""Who it was: what the announcements of all kinds begin with, and their keys.

Whatever a batch did is announced at one go, of all definitions of a kind together: to build and
encode columns costs far more a call than it does a row.
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
    context: PartitionContext, told: Sequence[tuple[AnyInstance, Int32s]]
) -> tuple[list[ArrowColumn], ArrowColumn]:
    """The columns of project, definition, version and person for some rows of definitions.

    And their keys, `project/definition/person`.
    """
    keys = [one.key for one, _ in told]
    whose = np.repeat(np.arange(len(told)), [len(rows) for _, rows in told])
    slots = [one.state.persons_of(rows) for one, rows in told]
    persons = context.persons.second(np.concatenate(slots))
    columns = [
        pa.array([key.project for key in keys]).take(whose),
        pa.array([key.id for key in keys]).take(whose),
        pa.array([key.version for key in keys], pa.int32()).take(whose),
        persons,
    ]
    prefixes = pa.array([f"{key.project}/{key.id}/" for key in keys]).take(whose)
    return columns, prefixed(prefixes, persons)
