"""All operators in one worker beside plain Faust: `python -m benchmarks.operators`.

20 funnels (4 to 8 steps, 5 of them with a breakdown and conditions), 20 segments, 10 cohorts and 10
metrics count the events of 200,000 persons. All are timed together, each operator alone, and
funnels of events that never come. A definition's cost per event is the CPU time that it adds to a
worker without definitions, output and changelog included.

Then a funnel is backfilled over a longer history: once with nothing else to do, which is the speed
of a backfill, and once while other events are waiting, which shows how much it slows them down.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

from benchmarks.bench import (
    EVENTS,
    WORKER,
    Timed,
    console,
    define,
    ends,
    environment_of,
    fill,
    process,
    report,
    scraped,
    system,
    time_faust,
    timed,
)
from benchmarks.definitions import funnels, sixty
from benchmarks.history import benchmark_parser
from schemas.definitions import Definition
from schemas.operators import OPERATORS
from services.replay import ReplayFilter, replay

_LIVE = 8  # funnels, of which one is backfilled


class Load(NamedTuple):
    """Numbers of events and persons; `history` is the number of events that are backfilled."""

    events: int
    persons: int
    history: int


class Backfilled(NamedTuple):
    """Events a second of a backfill, and the share by which it slows live events down."""

    events_per_s: float
    slowdown: float


def main() -> None:
    """Run it."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--events", type=int, default=3_000_000)
    parser.add_argument("--persons", type=int, default=200_000)
    parser.add_argument("--history", type=int, default=10_000_000)
    load = Load(**vars(parser.parse_args()))
    kinds = sixty()
    everything = [one for kind in kinds.values() for one in kind]
    elsewhere = [f"never {name}" for name in EVENTS]
    with system() as settings:
        rival = time_faust(settings, "rival", load.persons)
    nothing, _ = time_with([], load)
    idle, _ = time_with(list(islice(funnels(elsewhere), 20)), load)
    half, _ = time_with(kinds["funnel"][:10], load)
    alone = {kind: time_with(definitions, load) for kind, definitions in kinds.items()}
    together, rows = time_with(everything, load)
    backfilled = backfill(load)

    def cost(found: Timed, definitions: Sequence[Definition]) -> float:
        added = found.cpu_us_per_event - nothing.cpu_us_per_event
        return round(added / len(definitions), 3)

    costs = {kind: cost(found, kinds[kind]) for kind, (found, _) in alone.items()}
    report(
        f"{load.events:,} events of {load.persons:,} persons",
        {
            "plain Faust, counting": rival,
            "no definitions": nothing,
            "20 funnels on other events": idle,
            "10 funnels": half,
            **{f"{len(kinds[kind])} {kind}s": found for kind, (found, _) in alone.items()},
            f"all {len(everything)}": together,
        },
        {
            "not_measured": [spec.name for spec in OPERATORS if spec.name not in kinds],
            "ratio": round(together.events_per_s / rival.events_per_s, 1),
            "events_per_s": round(together.events_per_s),
            "faust_events_per_s": round(rival.events_per_s),
            "cost_us": costs,
            "cost_us_half_of_the_funnels": cost(half, kinds["funnel"][:10]),
            "cost_us_on_other_events": cost(idle, kinds["funnel"]),
            "state_bytes_per_row": {kind: row for kind, (_, row) in alone.items()},
            "state_bytes_per_row_all": rows,
            "backfill_events_per_s": round(backfilled.events_per_s),
            "backfill_slows_live_by": round(backfilled.slowdown, 2),
        },
    )


def time_with(definitions: Sequence[Definition], load: Load) -> tuple[Timed, float]:
    """Time a worker with these definitions; return the bytes that it keeps per row, too."""
    with system() as settings:
        define(settings, definitions)
        fill(settings, settings.topics.events.name, events=load.events, persons=load.persons)
        with process(WORKER, environment_of(settings)) as reader:
            found = timed(settings, reader, settings.app_id, settings.topics.events.name)
            metrics = scraped(settings)
    rows = metrics["table_rows persons"]
    return found, round(metrics["table_bytes persons"] / rows, 1) if rows else 0.0


def backfill(load: Load) -> Backfilled:
    """Backfill one of several funnels twice, while the others are live."""
    with system() as settings:
        live = list(islice(funnels(EVENTS), _LIVE))
        asked = ReplayFilter(kind="funnel", project=live[0].project_id, id=live[0].id)
        define(settings, live)
        group, topic = settings.app_id, settings.topics.events.name
        fill(settings, topic, events=load.history, persons=load.persons)
        with process(WORKER, environment_of(settings)) as reader:
            alone = timed(settings, reader, group, topic)
            console.print("backfilling a funnel")
            began = time.monotonic()
            replay(settings, asked, quiet=True)
            took = time.monotonic() - began
        done = sum(ends(settings, topic).values())
        fill(settings, topic, events=load.events, persons=load.persons)
        with ThreadPoolExecutor(1) as pool:
            again = pool.submit(replay, settings, asked, quiet=True)
            with process(WORKER, environment_of(settings)) as reader:
                beside = timed(settings, reader, group, topic, after=done)
                again.result()
    return Backfilled(load.history / took, 1 - beside.events_per_s / alone.events_per_s)


if __name__ == "__main__":
    main()
