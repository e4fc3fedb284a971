"""Every kernel the worker calls, compiled: `python -m pipelines.worker.precompile`.

The first start on a machine compiles, later ones read what is cached beside the modules. An open
transaction would not wait for a compiler, so a worker does this before it meets the broker, and
says so if a kernel has been left out.
"""

import time
from typing import Any, Final

import structlog
from numba.core import event

from pipelines.columnar.key_index import KeyIndex
from pipelines.engine import person_record as person_records
from pipelines.matching import property_groups as groups
from pipelines.operators.cohort.state import CohortState
from pipelines.operators.funnel.aggregates import FunnelAggregates
from pipelines.operators.funnel.state import FunnelState
from pipelines.operators.metric.active_state import ActiveState
from pipelines.operators.segment.state import SegmentState
from pipelines.operators.sequence import SequenceState
from pipelines.tracker.dedup import SeenIds

log = structlog.get_logger(__name__)

_COMPILED: Final = "numba:compile"


def precompile() -> None:
    """Have every kernel compiled; takes from 10 s to minutes the first time, seconds later."""
    began = time.monotonic()
    log.info("compiling what is not compiled yet")
    KeyIndex.precompile()
    SeenIds.precompile()
    person_records.precompile()
    groups.precompile()
    SequenceState.precompile()
    FunnelAggregates.precompile()
    FunnelState.precompile()
    CohortState.precompile()
    ActiveState.precompile()
    SegmentState.precompile()
    log.info("compiled", seconds=round(time.monotonic() - began, 1))


def warn_of_late_compiles() -> None:
    """From now on, log a warning for each kernel that is compiled: it was not warmed up."""
    event.register(_COMPILED, _Late())


class _Late(event.Listener):  # type: ignore[misc]
    def on_start(self, compiling: Any) -> None:
        """A kernel is being compiled."""
        kernel = compiling.data["dispatcher"].py_func
        log.warning(
            "compiled late",
            kernel=f"{kernel.__module__}.{kernel.__name__}",
            at=compiling.data["args"],
        )

    def on_end(self, compiling: Any) -> None:
        """It is compiled."""


if __name__ == "__main__":
    precompile()
