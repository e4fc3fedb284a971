"""What a recount costs other projects: `python -m benchmarks.recount`.

A worker counts two projects, with four funnels each. It is suspended while events of the second are
written, and then timed until it has counted them: alternately without a recount, and while it reads
the whole history of the first project again. The ratio of the two speeds is reported, for each pair
and its median. After the worker has started, it takes less than a minute.
"""

import statistics
import time
from typing import Final

import psutil
from confluent_kafka.admin import AdminClient

from benchmarks.bench import (
    PROJECT,
    WORKER,
    Filler,
    Timed,
    committed,
    console,
    cpu_s,
    define_funnels,
    ends,
    environment_of,
    fill,
    process,
    report,
    scraped,
    system,
    until,
)
from benchmarks.history import benchmark_parser
from schemas.settings import Settings

OTHER: Final = "other"
_FUNNELS: Final = 4
_DAY_MS: Final = 86_400_000
_DAYS: Final = 50
_LATE_EVENTS: Final = 500
_TIMEOUT_S: Final = 600.0
_POLL_S: Final = 0.05
_QUIET_S: Final = 2.0


class Worker:
    """A worker that runs, and its input."""

    def __init__(self, settings: Settings, running: psutil.Process, persons: int) -> None:
        self._settings = settings
        self._topic = settings.topics.events.name
        self._running = running
        self._persons = persons
        self._admin = AdminClient({"bootstrap.servers": settings.bootstrap})

    def catch_up(self) -> None:
        """Wait until it has read everything."""
        there = ends(self._settings, self._topic)
        goal = sum(there.values()) - len(there)  # the last record of a partition may be a marker
        until(
            lambda: committed(self._admin, self._settings.app_id, self._topic) >= goal,
            _TIMEOUT_S,
            _POLL_S,
        )

    def time(self, events: int) -> tuple[Timed, float]:
        """Time it on events of the other project; return its speed, and seconds of a recount."""
        self._running.suspend()
        fill(self._settings, self._topic, events=events, persons=self._persons, project=OTHER)
        self._running.resume()
        cpu, spent, began = cpu_s(self._running), self.recount_s(), time.monotonic()
        self.catch_up()
        seconds = time.monotonic() - began
        found = Timed(events / seconds, 1e6 * (cpu_s(self._running) - cpu) / events)
        return found, self.recount_s() - spent

    def fall_behind(self, days: int) -> None:
        """Let some events of the first project come far too late."""
        filler = Filler(self._settings, self._topic, persons=self._persons)
        filler.write(_LATE_EVENTS, _now_ms() - days * _DAY_MS)
        filler.close()
        self.catch_up()

    def await_recount(self) -> None:
        """Wait until it recounts no more, and then for as long as the project pauses."""
        began = at = time.monotonic()
        spent = -1.0
        while time.monotonic() - at < _QUIET_S:
            if (now := self.recount_s()) != spent:
                spent, at = now, time.monotonic()
            time.sleep(_POLL_S)
        time.sleep(at - began)

    def recount_s(self) -> float:
        """Return how long it has recounted so far."""
        return scraped(self._settings).get("seconds_total analytics: recount", 0.0)


def main() -> None:
    """Run it."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--events", type=int, default=500_000, help="of a round")
    parser.add_argument("--history", type=int, default=1_000_000)
    parser.add_argument("--persons", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    with system(checkpoint_interval_ms=2_000) as settings:
        for project in (PROJECT, OTHER):
            define_funnels(settings, _FUNNELS, project=project)
        filler = Filler(settings, settings.topics.events.name, persons=given.persons)
        begin = _now_ms() - _DAYS * _DAY_MS
        for day in range(_DAYS):
            filler.write(given.history // _DAYS, begin + day * _DAY_MS)
        filler.close()
        fill(
            settings,
            settings.topics.events.name,
            events=given.persons,
            persons=given.persons,
            project=OTHER,
        )
        with process(WORKER, environment_of(settings)) as running:
            worker = Worker(settings, running, given.persons)
            worker.catch_up()
            pairs, shares = [], []
            for number in range(given.rounds):
                alone, _ = worker.time(given.events)
                worker.fall_behind(_DAYS + 1 + number)
                beside, seconds = worker.time(given.events)
                if not seconds:
                    raise RuntimeError("no recount ran: give it more --history")
                ratio = beside.events_per_s / alone.events_per_s
                share = seconds * beside.events_per_s / given.events
                console.print(f"{ratio:.3f}, a share of {share:.3f} for the recount")
                pairs.append((alone, beside))
                shares.append(share)
                if number + 1 < given.rounds:
                    worker.await_recount()
    ratios = [beside.events_per_s / alone.events_per_s for alone, beside in pairs]
    rows = {
        f"{name} {number}": timed
        for number, pair in enumerate(pairs, 1)
        for name, timed in zip(("without", "with a recount"), pair, strict=True)
    }
    report(
        f"{given.events:,} events of another project, {given.history:,} that are recounted",
        rows,
        {
            "ratio": round(statistics.median(ratios), 3),
            "ratios": [round(ratio, 3) for ratio in ratios],
            "recount_shares": [round(share, 3) for share in shares],
        },
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    main()
