"""Events to send while things go wrong, and the judge of what came of them.

The judge reads topics and ClickHouse with clients of its own and knows the definition of a funnel
only from `tests.oracles`: it shares no code with the pipeline.
"""

import functools
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from operator import itemgetter
from types import TracebackType
from typing import Self

from clickhouse_connect.driver.client import Client
from confluent_kafka import KafkaError, Message, Producer

from schemas.cluster import client_config
from schemas.settings import Settings
from tests.events import (
    Figures,
    Results,
    Sent,
    await_equal,
    define,
    event_schema_id,
    figures,
    person_steps,
    record,
    stored_events,
)
from tests.kafka import read_all
from tests.oracles.funnel import Happening, fold

STEPS = ["home", "cart", "pay", "purchase"]
# Chains that reach over every fault, and windows that close in the midst of them.
FUNNEL = {"patient": 1_800, "quick": 5}
# Defined when half of it has happened.
LATER = {"retold": 900}
_REPEATED = 0.01
_SHUFFLED_MS = 5_000
_SETTLED_TIMEOUT_S = 300.0


class Load(threading.Thread):
    """Sends events of `persons` at a steady rate until all `count` are acknowledged.

    Some are sent twice, and they are out of order by some seconds, within the lateness.
    """

    def __init__(
        self, settings: Settings, *, count: int, rate: int, persons: int, seed: int = 0
    ) -> None:
        super().__init__(daemon=True)
        self._settings = settings
        self._schema_id = event_schema_id(settings)
        self._rate = rate
        self._rng = random.Random(seed)
        self._failures: list[KafkaError] = []
        self.sent: list[Sent] = list(self._draw(count, persons))
        self.done = threading.Event()

    def _draw(self, count: int, persons: int) -> Iterator[Sent]:
        begin = time.time_ns() // 1_000_000
        for number in range(count):
            late = self._rng.randrange(_SHUFFLED_MS)
            yield Sent(
                f"person {self._rng.randrange(persons)}",
                self._rng.choice(STEPS),
                begin + number * 1_000 // self._rate - late,
                event_id=f"{self._rng.getrandbits(128):032x}",
            )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.done.set()
        self.join()

    def run(self) -> None:
        producer = Producer(
            client_config(
                self._settings.cluster,
                {
                    "enable.idempotence": True,
                    "partitioner": "murmur2_random",
                    "linger.ms": 20,
                    "message.timeout.ms": 600_000,
                    "log_level": 0,
                    "on_delivery": self._delivered,
                },
            )
        )
        topic = self._settings.topics.inbox.name
        started = time.monotonic()
        for number, event in enumerate(self.sent):
            if self.done.is_set():
                return
            while number > (time.monotonic() - started) * self._rate:
                producer.poll(0.05)
            again = self._rng.random() < _REPEATED
            for _ in range(1 + again):
                value, key, *_ = record(event, self._schema_id)
                producer.produce(topic, value, key)
        left = producer.flush(600)
        assert not left
        self.done.set()

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failures.append(error)

    def finish(self) -> None:
        """Wait until everything is acknowledged."""
        self.done.wait()
        self.join()
        assert not self._failures, self._failures[0]


def define_funnels(settings: Settings, funnels: Mapping[str, int] = FUNNEL) -> None:
    """Define funnels of these windows."""
    for funnel, window_s in funnels.items():
        define(settings, funnel, STEPS, window_s)


def judge(
    settings: Settings,
    sent: list[Sent],
    results: Results,
    clickhouse: Client | None = None,
    funnels: Mapping[str, int] = FUNNEL,
) -> None:
    """Fail unless every event sent counts exactly once, everywhere."""
    happenings = [
        Happening(event.person, event.at_ms, [STEPS.index(event.event) + 1]) for event in sent
    ]
    for funnel, window_s in funnels.items():
        expected = fold(happenings, len(STEPS), window_s * 1_000)
        days = {day: own.reached for day, own in expected.days.items()}
        await_equal(
            Figures(expected.totals, days, 0),
            functools.partial(figures, results, funnel),
            _SETTLED_TIMEOUT_S,
        )
        times = {
            (day, number): own
            for day, of_day in expected.days.items()
            for number, own in enumerate(of_day.times, 1)
            if own
        }
        await_equal(times, functools.partial(_times, results, funnel), _SETTLED_TIMEOUT_S)
    once = dict.fromkeys((_uuid(event.event_id) for event in sent), 1)
    await_equal(once, lambda: _counts(results), _SETTLED_TIMEOUT_S)
    assert not read_all(settings.cluster, settings.topics.rejected.name)
    if clickhouse is not None:
        counted = (
            "SELECT count(), uniqExact(event_id) FROM {database:Identifier}.events",
            {"database": settings.clickhouse_database},
        )
        await_equal(
            (len(once), len(once)),
            lambda: clickhouse.query(*counted).result_rows[0],
            _SETTLED_TIMEOUT_S,
        )


def _times(results: Results, funnel: str) -> dict[tuple[int, int], list[int]]:
    times: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for (_, day, step), took in sorted(person_steps(results, funnel).items(), key=itemgetter(1)):
        times[day, step].append(took)
    return dict(times)


def _counts(results: Results) -> dict[str, int]:
    return dict(Counter(event["event_id"] for event in stored_events(results)))


def _uuid(digits: str) -> str:
    return "-".join([digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]])
