"""The worker beside plain Faust: `python -m benchmarks.worker`.

Tracker stage: inbox to event store. Analytics stage: 8 four-step funnels over 200,000 persons,
Avro in, changelog and results out, a transaction every 200 ms. The rival is an agent on Faust's own
driver that counts records and does nothing else, on the same broker, before each of the two.

Then a worker without local snapshots restores the funnels' state from the changelog.
"""

import shutil
import time

from benchmarks.bench import (
    WORKER,
    console,
    define_funnels,
    environment_of,
    fill,
    process,
    report,
    scraped,
    shares,
    system,
    time_faust,
    time_ours,
)
from benchmarks.history import benchmark_parser
from schemas.settings import Settings
from services.worker import partitions_held

FUNNEL = 8
_RESTORED_TIMEOUT_S = 600.0


def main() -> None:
    """Run it."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--persons", type=int, default=200_000)
    given = parser.parse_args()
    load = {"events": given.events, "persons": given.persons}
    with system(checkpoint_interval_ms=2_000) as settings:
        rival = time_faust(settings, "rival", given.persons)
        fill(settings, settings.topics.inbox.name, **load)
        tracker, tracker_metrics = time_ours(settings, settings.topics.inbox.name)
    with system(checkpoint_interval_ms=2_000) as settings:
        rival_again = time_faust(settings, "rival", given.persons)
        define_funnels(settings, FUNNEL)
        fill(settings, settings.topics.events.name, **load)
        analytics, analytics_metrics = time_ours(settings, settings.topics.events.name)
        restored = restore(settings)
    report(
        f"{given.events:,} events of {given.persons:,} persons",
        {
            "plain Faust, counting": rival,
            "tracker": tracker,
            "plain Faust, counting, again": rival_again,
            f"{FUNNEL} funnels": analytics,
        },
        {
            "tracker_ratio": round(tracker.events_per_s / rival.events_per_s, 1),
            "analytics_ratio": round(analytics.events_per_s / rival_again.events_per_s, 1),
            "tracker_events_per_s": round(tracker.events_per_s),
            "analytics_events_per_s": round(analytics.events_per_s),
            "faust_events_per_s": [round(rival.events_per_s), round(rival_again.events_per_s)],
            **restored,
            "tracker_shares": shares(tracker_metrics),
            "analytics_shares": shares(analytics_metrics),
        },
    )


def restore(settings: Settings) -> dict[str, float]:
    """Return how fast a worker restores the funnels' rows from the changelog, and their size."""
    shutil.rmtree(settings.snapshot_dir, ignore_errors=True)
    console.print("restoring")
    with process(WORKER, environment_of(settings)):
        deadline = time.monotonic() + _RESTORED_TIMEOUT_S
        while partitions_held(settings) < settings.partitions or not _all_restored(settings):
            if time.monotonic() > deadline:
                raise RuntimeError("not restored")
            time.sleep(0.5)  # to look is work for the broker that it restores from
        metrics = scraped(settings)
    rows, size = metrics["table_rows persons"], metrics["table_bytes persons"]
    return {
        "restore_rows_per_s": round(rows / metrics["seconds_total restore"]),
        "restore_rows": int(rows),
        "state_bytes_per_row": round(size / rows, 1),
    }


def _all_restored(settings: Settings) -> bool:
    """Every partition of the inbox, the event store and the examples has been restored."""
    try:
        return scraped(settings).get("partitions", 0) == 3 * settings.partitions
    except OSError:  # what the group knows of is the worker before, which has ended
        return False


if __name__ == "__main__":
    main()
