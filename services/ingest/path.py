"""The one path from a door to the broker: check, plan, encode, produce; a result for each event."""

import asyncio
from collections.abc import Callable
from typing import Final

from schemas.errors import InvalidRequest
from services.ingest.check import arrive, check
from services.ingest.encode import Encoder
from services.ingest.events import Batch, Result, Row, Unreadable, Verdict
from services.ingest.limits import Limits, TooLarge
from services.ingest.plans import Plans, Rule, conform
from services.ingest.produce import Producer, Record

DEFAULT_PROJECT: Final = "default"

# After this many events the other requests get a turn: some two milliseconds' work.
_TURN: Final = 500

_NO_RULES: Final[dict[str, Rule]] = {}


class Path:
    """What all doors share. `clock` gives the time in milliseconds since 1970."""

    def __init__(
        self,
        producer: Producer,
        encoder: Encoder,
        plans: Plans,
        limits: Limits,
        clock: Callable[[], int],
    ) -> None:
        self._producer = producer
        self._encoder = encoder
        self._plans = plans
        self._limits = limits
        self._clock = clock

    async def take(self, batch: Batch) -> list[Result]:
        """Return what became of each event of `batch`, in its order.

        Whatever is answered `ok` or `warning` is on the broker; whatever is answered `drop` is not.
        Waits for the broker, until the delivery time-out at most.

        Raises:
            TooLarge: the batch has too many events; none was taken.
        """
        limits = self._limits
        if len(batch.events) > limits.max_events:
            raise TooLarge(
                f"{len(batch.events)} events in one request", "max_events", limits.max_events
            )
        planned = self._plans.rules
        arrival = arrive(batch.project_id or DEFAULT_PROJECT, batch.sent_at, self._clock())
        results: list[Result] = []
        records: list[Record] = []
        places: list[int] = []
        for place, event in enumerate(batch.events):
            if place % _TURN == _TURN - 1:
                await asyncio.sleep(0)
            try:
                if isinstance(event, Unreadable):
                    raise event.error
                row = check(event, arrival, batch.notes.get(place, ""), limits)
                if planned and (rule := planned.get(row.project_id, _NO_RULES).get(row.event)):
                    row = conform(row, rule)
                record = self._encode(row, arrival.received_at)
            except InvalidRequest as error:
                results.append(Result(event.event_id, "drop", str(error), error.field))
                continue
            verdict: Verdict = "warning" if row.warning else "ok"
            results.append(Result(row.event_id, verdict, row.warning))
            records.append(record)
            places.append(place)
        failures = await self._producer.send(records)
        for number, failure in failures.items():
            place = places[number]
            verdict = "drop" if failure.too_large else "retry"
            results[place] = Result(results[place].event_id, verdict, failure.reason)
        return results

    def _encode(self, row: Row, received_at: int) -> Record:
        key, value = self._encoder.encode(row, received_at)
        most = self._limits.max_event_bytes
        if len(value) > most:
            raise TooLarge(f"the event has {len(value)} bytes", "max_event_bytes", most)
        return Record(key, value)
