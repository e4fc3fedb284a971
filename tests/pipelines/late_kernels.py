"""`python -m tests.pipelines.late_kernels`: what a worker would compile while everybody waits.

It makes the registered calls, as a worker does before it starts, and then lets definitions of all
sorts count. Kernels that are compiled only then are printed, with the types of their arguments.
"""

import json
import sys
from typing import Any

from numba.core.dispatcher import Dispatcher

from pipelines.columnar import jit
from pipelines.engine.partition import Partition
from pipelines.engine.person_record import MAX_RECORD_BYTES
from pipelines.operators import OPERATORS
from tests.pipelines.in_process import Named
from tests.pipelines.test_state_records import LARGEST, LATENESS_MS, live, logged


def main() -> None:
    """Print them."""
    for call in jit.examples():
        call()
    known = compiled()
    for operator in OPERATORS:
        for body in LARGEST[operator.spec.name]:
            record = Named(operator.spec.name, "large").record(body)
            definition = operator.spec.decode(json.dumps(record).encode())
            one = operator.instance(definition, LATENESS_MS)
            partition = Partition()
            partition.instances[one.key] = one
            live(partition, operator, definition)
            list(logged(partition, MAX_RECORD_BYTES))
    for name, types in sorted(compiled() - known):
        sys.stdout.write(f"{name} {types}\n")


def compiled() -> set[tuple[str, str]]:
    """Return the kernels that are compiled in this process, and for which types."""
    found: dict[int, Any] = {}
    for name, module in list(sys.modules.items()):
        if name.startswith("pipelines"):
            found |= {id(of): of for of in vars(module).values() if isinstance(of, Dispatcher)}
    return {
        (f"{of.py_func.__module__}.{of.py_func.__name__}", str(types))
        for of in found.values()
        for types in of.signatures
    }


if __name__ == "__main__":
    main()
