"""Every kernel the worker calls, compiled: `python -m pipelines.warm_up`.

The first start on a machine compiles, later ones read what is cached beside the modules. An open
transaction would not wait for a compiler, so a worker does this before it meets the broker.
"""

import time

import structlog

from pipelines import person_records
from pipelines.actives_state import ActivesState
from pipelines.cohort_state import CohortState
from pipelines.dedup import SeenIds
from pipelines.funnel_chain_state import ChainState
from pipelines.funnel_state import FunnelState
from pipelines.segment_state import SegmentState

log = structlog.get_logger(__name__)


def warm_up() -> None:
    """Have every kernel compiled; takes from 10 s to minutes the first time, seconds later."""
    began = time.monotonic()
    log.info("compiling what is not compiled yet")
    SeenIds.warm_up()
    person_records.warm_up()
    FunnelState.warm_up()
    ChainState.warm_up()
    CohortState.warm_up()
    ActivesState.warm_up()
    SegmentState.warm_up()
    log.info("compiled", seconds=round(time.monotonic() - began, 1))


if __name__ == "__main__":
    warm_up()
