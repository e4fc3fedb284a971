"""What questions about the past cost: `python -m benchmarks.query`.

The whole system runs. Events of 60 days are written into the embedded store, and the questions of
`benchmarks.query_cases` are asked over the last 30 of them: of the REST API, which has not answered
them before, and as SQL of the store itself. Both have the same figures; the shortest of some
runs counts. Then one question is asked over and over, which is answered from memory. At last
results of the stream are read at a constant rate (open loop), beside events that come in.
"""

import contextlib
import http.client
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import psutil
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from rich.table import Table

from benchmarks.bench import (
    EVENTS,
    PROJECT,
    answers,
    console,
    define_funnels,
    environment_of,
    fill,
    process,
    system,
    until,
)
from benchmarks.freshness import load
from benchmarks.history import benchmark_parser, publish
from benchmarks.query_cases import AFTER, CASES, DAYS, FIRST_DAY, FROM, TO, Case
from schemas.errors import Unavailable
from schemas.settings import QUERY_PORT, Settings
from services.keys.first import read_token
from services.worker import partitions_held
from sinks.connection import connect

HISTORY: Final = "history"
EVENTS_A_PERSON: Final = 20
_AT_ONCE: Final = 1_000_000
# Through the whole system, so that the sink has a position in each partition.
_SENT: Final = 2_000
_CACHED: Final = 200
_READERS: Final = 10
_READS_PER_S: Final = 200
_EVENTS_PER_S: Final = 5_000


class Ratio(NamedTuple):
    """How long a question took as a query, and as SQL."""

    ours_ms: float
    theirs_ms: float

    @property
    def ratio(self) -> float:
        """How many times as long ours took."""
        return self.ours_ms / self.theirs_ms


def main() -> None:
    """Run it."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=20)
    given = parser.parse_args()
    with system() as settings:
        define_funnels(settings, 8)
        environment = environment_of(settings, AVILA_KAFKA_BOOTSTRAP=settings.bootstrap)
        with process([sys.executable, "-m", "services", "up"], environment) as whole:
            until(lambda: partitions_held(settings) == settings.partitions, 600)
            until(lambda: answers(f"http://{_host(settings)}/readyz"), 300)
            with _store(settings) as client:
                asker = Asker(settings, client)
                fill(settings, settings.topics.inbox.name, events=_SENT, persons=_SENT // 2)
                until(lambda: len(asker.positions()) == settings.partitions, 120)
                _fill_store(client, settings.clickhouse_database, given.events)
                ratios = {case.name: asker.compare(case, given.runs) for case in CASES}
                cached_ms = asker.cached_ms(CASES[0])
            with load(settings, _EVENTS_PER_S):
                views_ms = _read_views(settings, given.seconds)
            rss_mb = _query_process(whole).memory_info().rss / 2**20
    _report(ratios)
    figures = {
        "worst_ratio": round(max(one.ratio for one in ratios.values()), 2),
        "cached_ms": round(float(np.median(cached_ms)), 2),
        "cached_p99_ms": round(float(np.percentile(cached_ms, 99)), 2),
        "views_p99_ms": round(float(np.percentile(views_ms, 99)), 1),
        "rss_mb": round(rss_mb),
        "ratios": {name: round(one.ratio, 2) for name, one in ratios.items()},
        "events": given.events,
    }
    publish(figures)


class Asker:
    """Asks the query service and the store the same questions."""

    def __init__(self, settings: Settings, client: Client) -> None:
        self._api = http.client.HTTPConnection(_host(settings), timeout=120)
        self._headers = {"authorization": f"Bearer {read_token(settings)}"}
        self._client = client
        self._table = f"{settings.clickhouse_database}.events"
        self._asked = 0

    def compare(self, case: Case, runs: int) -> Ratio:
        """Ask a question both ways, by turns; raises `AssertionError` if the figures differ."""
        answer, rows = self.ask(case, FROM), self.query(case)
        ours, theirs = case.figure(answer), case.figure_of_sql(rows)
        assert ours == theirs, f"{case.name}: {ours} is not {theirs}"
        times = [
            (
                _timed_ms(lambda: self.ask(case, self._unasked())),
                _timed_ms(lambda: self.query(case)),
            )
            for _ in range(runs)
        ]
        found = Ratio(*map(min, zip(*times, strict=True)))
        console.print(f"{case.name}: {found.ours_ms:.0f} ms, SQL {found.theirs_ms:.0f} ms")
        return found

    def cached_ms(self, case: Case) -> list[float]:
        """Ask one question over and over; return how long each answer from memory took."""
        self.ask(case, FROM)
        return [_timed_ms(lambda: self.ask(case, FROM)) for _ in range(_CACHED)]

    def positions(self) -> Mapping[str, int]:
        """Return the positions below which the store has all events that were sent."""
        found: Mapping[str, int] = self._post("events", {"limit": 1})["positions"]
        return found

    def ask(self, case: Case, begin: str) -> Any:
        """Ask the query service."""
        return self._post(case.kind, {"from": begin, "to": TO, **case.body})

    def _post(self, kind: str, body: Mapping[str, Any]) -> Any:
        path = f"/api/projects/{HISTORY}/query/{kind}"
        self._api.request("POST", path, json.dumps(body), self._headers)
        answer = self._api.getresponse()
        text = answer.read()
        self._api.close()  # which the service does to a connection that rests meanwhile
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"{kind}: {text.decode()}")
        return json.loads(text)

    def query(self, case: Case) -> Sequence[Sequence[Any]]:
        """Ask the store."""
        of = f"project_id = '{HISTORY}'"
        within = f"{of} AND timestamp >= '{FROM}' AND timestamp < '{AFTER}'"
        return self._client.query(
            case.sql.format(events=self._table, of=of, within=within)
        ).result_rows

    def _unasked(self) -> str:
        """Return a beginning of the range that was not asked for: a millisecond later each time."""
        self._asked += 1
        return f"{FROM}T00:00:00.{self._asked % 1_000:03}Z"


@contextlib.contextmanager
def _store(settings: Settings) -> Iterator[Client]:
    """Connect to the store as soon as the sink has made its table."""
    found: list[Client] = []

    def has_table() -> bool:
        try:
            if not found:
                found.append(connect(settings, timeout_s=600, name="benchmark"))
            found[0].command(f"SELECT count() FROM {settings.clickhouse_database}.events")
        except (ClickHouseError, Unavailable):
            return False
        return True

    until(has_table, 120)
    try:
        yield found[0]
    finally:
        found[0].close()


def _fill_store(client: Client, database: str, events: int) -> None:
    """Write events of a project into the store: of each second of the days the same number.

    Their offsets are below those that the sink has committed, so that queries count them.
    """
    console.print(f"writing {events:,} events")
    names = ", ".join(f"'{name}'" for name in EVENTS)
    span_ms = DAYS * 86_400_000
    for first in range(0, events, _AT_ONCE):
        client.command(
            f"""
INSERT INTO {database}.events (
    event_id, project_id, distinct_id, person_id, event, timestamp, received_at, properties,
    context, _partition, _offset
)
SELECT
    generateUUIDv4(number), '{HISTORY}', person, person,
    [{names}][1 + intHash64(number + 7) % {len(EVENTS)}], at, at, concat(
        '{{"plan":"', ['free', 'pro', 'team', 'school'][1 + intHash64(number + 9) % 4],
        '","price":', toString(intHash64(number + 11) % 100), '.5,"path":"/products/',
        toString(intHash64(number + 13) % 40), '"', if(intHash64(number + 17) % 50 = 0, concat(
            ',"$set":{{"tier":"', ['a', 'b', 'c'][1 + intHash64(number + 19) % 3], '"}}'
        ), ''), '}}'
    ), '{{}}', cityHash64(person) % 2, 0
FROM (
    SELECT
        number,
        concat('person-', toString(intHash64(number) % {max(events // EVENTS_A_PERSON, 1)}))
            AS person,
        fromUnixTimestamp64Milli(
            toUnixTimestamp('{FIRST_DAY} 00:00:00', 'UTC') * 1000
            + intDiv(toInt64(number) * {span_ms}, {events}), 'UTC'
        ) AS at
    FROM numbers({first}, {min(_AT_ONCE, events - first)})
)
"""
        )


def _read_views(settings: Settings, seconds: int) -> list[float]:
    """Read funnels' results of the stream at a constant rate; return the latencies (ms).

    They begin when a request is due, whether or not the one before has been answered.
    """
    token = read_token(settings)
    latencies: list[float] = []
    begun = time.monotonic() + 1

    def read(number: int) -> None:
        api = http.client.HTTPConnection(_host(settings), timeout=30)
        path = f"/api/projects/{PROJECT}/funnels/funnel-{number % 8}/results"
        for turn in range(seconds * _READS_PER_S // _READERS):
            due = begun + turn * _READERS / _READS_PER_S + number / _READS_PER_S
            time.sleep(max(due - time.monotonic(), 0))
            api.request("GET", path, headers={"authorization": f"Bearer {token}"})
            answer = api.getresponse()
            answer.read()
            assert answer.status == http.HTTPStatus.OK, answer.status
            latencies.append(1_000 * (time.monotonic() - due))
        api.close()

    readers = [threading.Thread(target=read, args=(number,)) for number in range(_READERS)]
    for one in readers:
        one.start()
    for one in readers:
        one.join()
    assert len(latencies) == seconds * _READS_PER_S, "a reader failed"
    return latencies


def _query_process(whole: psutil.Process) -> psutil.Process:
    return next(one for one in whole.children(recursive=True) if one.cmdline()[-1:] == ["query"])


def _timed_ms(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return 1_000 * (time.perf_counter() - begun)


def _host(settings: Settings) -> str:
    return f"{settings.host}:{settings.port(QUERY_PORT)}"


def _report(ratios: Mapping[str, Ratio]) -> None:
    table = Table(title="Questions about the past")
    for name in ("", "ms", "SQL by hand, ms", "ratio"):
        table.add_column(name, justify="left" if not name else "right")
    for name, one in ratios.items():
        table.add_row(name, f"{one.ours_ms:.0f}", f"{one.theirs_ms:.0f}", f"{one.ratio:.2f}")
    console.print(table)


if __name__ == "__main__":
    main()
