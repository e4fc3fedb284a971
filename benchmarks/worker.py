"""The worker beside plain Faust: `python -m benchmarks.worker`.

Tracker stage: inbox to event store. Analytics stage: 8 four-step funnels over 200,000 persons,
Avro in, changelog and results out, a transaction every 200 ms. The rival is an agent on Faust's own
driver that counts records and does nothing else.
"""

import argparse
import sys

from benchmarks.bench import (
    Timed,
    create_topics,
    define_funnels,
    environment_of,
    fill,
    process,
    report,
    system,
    timed,
    worker_command,
)
from schemas.settings import Settings
from schemas.topics import Topic

FUNNELS = 8


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--persons", type=int, default=200_000)
    given = parser.parse_args()
    with system(checkpoint_interval_ms=2_000, dedup_capacity=2_000_000) as settings:
        create_topics(settings, [Topic("rival", "delete")])
        fill(settings, "rival", events=given.events // 10, persons=given.persons)
        faust = time_faust(settings)
        fill(settings, settings.topics.inbox.name, events=given.events, persons=given.persons)
        tracker = time_ours(settings, settings.topics.inbox.name)
    with system(checkpoint_interval_ms=2_000) as settings:
        define_funnels(settings, FUNNELS)
        fill(settings, settings.topics.events.name, events=given.events, persons=given.persons)
        analytics = time_ours(settings, settings.topics.events.name)
    report(
        f"{given.events:,} events of {given.persons:,} persons",
        {"plain Faust, counting": faust, "tracker": tracker, f"{FUNNELS} funnels": analytics},
        {
            "tracker_ratio": round(tracker.events_per_s / faust.events_per_s, 1),
            "analytics_ratio": round(analytics.events_per_s / faust.events_per_s, 1),
            "tracker_events_per_s": round(tracker.events_per_s),
            "analytics_events_per_s": round(analytics.events_per_s),
            "faust_events_per_s": round(faust.events_per_s),
        },
    )


def time_faust(settings: Settings) -> Timed:
    """Plain Faust."""
    environment = environment_of(
        settings,
        RIVAL_BOOTSTRAP=settings.bootstrap,
        RIVAL_TOPIC="rival",
        RIVAL_DIRECTORY=str(settings.data_dir / "rival"),
    )
    app = [sys.executable, "-m", "faust", "-A", "benchmarks.rivals.faust_count"]
    with process([*app, "worker", "--without-web"], environment) as reader:
        return timed(settings, reader, "rival-faust", "rival")


def time_ours(settings: Settings, topic: str) -> Timed:
    """Our worker."""
    with process(worker_command(), environment_of(settings)) as reader:
        return timed(settings, reader, settings.app_id, topic)


if __name__ == "__main__":
    main()
