"""Every kernel the worker calls, compiled: `python -m pipelines.warm_up`.

The first start on a machine compiles, later ones read what is cached beside the modules. An open
transaction would not wait for a compiler, so a worker does this before it meets the broker, and
says so if a kernel has been left out.
"""

import time
from typing import Any, Final

import structlog
from numba.core import event

from pipelines import groups, person_records
from pipelines.actives_state import ActivesState
from pipelines.cohort_state import CohortState
from pipelines.dedup import SeenIds
from pipelines.funnel_chain_state import ChainState
from pipelines.funnel_figures import FunnelFigures
from pipelines.funnel_state import FunnelState
from pipelines.keys import KeyIndex
from pipelines.segment_state import SegmentState

log = structlog.get_logger(__name__)

_COMPILED: Final = "numba:compile"


def warm_up() -> None:
    """Have every kernel compiled; takes from 10 s to minutes the first time, seconds later."""
    began = time.monotonic()
    log.info("compiling what is not compiled yet")
    KeyIndex.warm_up()
    SeenIds.warm_up()
    person_records.warm_up()
    groups.warm_up()
    FunnelState.warm_up()
    FunnelFigures.warm_up()
    ChainState.warm_up()
    CohortState.warm_up()
    ActivesState.warm_up()
    SegmentState.warm_up()
    log.info("compiled", seconds=round(time.monotonic() - began, 1))


def tell_of_late_ones() -> None:
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
    warm_up()
