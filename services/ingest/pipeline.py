"""The one path from a door to the broker: admit, check, plan, encode, produce; and what became."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from pipelines.kafka.bulk_producer import RecordColumns
from schemas.errors import InvalidRequest
from services.ingest.access import Access
from services.ingest.check import Arrival, arrive, check
from services.ingest.encode import Encoder
from services.ingest.events import Batch, Event, Result, Row, Unreadable, Verdict
from services.ingest.fast_path.batch import WORTH, PlainEncoder, columns_of, missing
from services.ingest.fast_path.columns import Columns
from services.ingest.limits import Limits, TooLarge
from services.ingest.plans import Plans, Rule, conform
from services.ingest.produce import Producer

# After this many events the other requests get a turn: two milliseconds' work at most.
_TURN: Final = 500

_NO_RULES: Final[dict[str, Rule]] = {}


class _Checked(NamedTuple):
    """A batch on its way: a result for each event, if all goes well, and the records to produce.

    They come in some parts; `places` are their places among the results.
    """

    results: list[Result]
    parts: list[RecordColumns]
    places: list[int]


class IngestPipeline:
    """What all doors share. `clock` gives the time in milliseconds since 1970."""

    def __init__(
        self,
        producer: Producer,
        encoder: Encoder,
        limits: Limits,
        access: Access,
        plans: Plans,
        clock: Callable[[], int],
    ) -> None:
        self._producer = producer
        self._encoder = encoder
        self._plain = PlainEncoder(encoder, limits)
        self._limits = limits
        self._access = access
        self._plans = plans
        self._clock = clock

    async def take(self, batch: Batch) -> list[Result]:
        """Return what became of each event of `batch`, in its order.

        They go to the project of the batch's write key; those that name another are dropped.
        Whatever is answered `ok` or `warning` is on the broker; whatever is answered `drop` is not.
        Waits for the broker, until the delivery time-out at most.

        Raises:
            TooLarge: the batch has too many events; none was taken, as with the following.
            Unauthorized, Forbidden: its write key is not good, or not for this.
            BackOff: a limit of the key or its project is used up (`OverLimit`), or it is too early.
        """
        return await self._deliver(await self._check(batch))

    async def send(self, batch: Batch) -> asyncio.Task[list[Result]]:
        """Hand `batch` to the producer and return what gives its results, as `take` would.

        Batches that are sent one after the other are produced in this order, and may wait for the
        broker together. Waits for nothing but other requests' turns.

        Raises:
            TooLarge: the batch has too many events; none was taken.
        """
        # Tasks begin in the order of their creation, and this one produces before it waits.
        return asyncio.create_task(self._deliver(await self._check(batch)))

    async def _check(self, batch: Batch) -> _Checked:
        most = self._limits.max_events
        if len(batch.events) > most:
            raise TooLarge(f"{len(batch.events)} events in one request", "max_events", most)
        project_id = self._access.admit(batch.key, batch.origin, len(batch.events))
        rules = self._plans.rules.get(project_id, _NO_RULES)
        arrival = arrive(project_id, batch.sent_at, self._clock(), batch.project_id)
        checked = _Checked([], [], [])
        for begin in range(0, len(batch.events), _TURN):
            if begin:
                await asyncio.sleep(0)
            self._check_some(batch, begin, arrival, rules, checked)
        return checked

    def _check_some(
        self,
        batch: Batch,
        begin: int,
        arrival: Arrival,
        rules: Mapping[str, Rule],
        checked: _Checked,
    ) -> None:
        """Check the events from `begin` on that are of one turn, and add what is found."""
        results, parts, places = checked
        end = min(begin + _TURN, len(batch.events))
        records = missing(end - begin)
        columns = self._columns(batch, begin, end, arrival.project_id)
        if columns is not None:
            records = self._plain.encode(columns, arrival)
            if not rules and not batch.notes and records.present().all():
                results += [Result(event_id, "ok") for event_id in columns.ids()]
                parts.append(records)
                places += range(begin, end)
                return
        is_plain = records.present().tolist()
        others: dict[int, tuple[bytes, bytes] | None] = {}
        for number, event in enumerate(batch.events[begin:end]):
            note = batch.notes.get(begin + number, "")
            if (
                is_plain[number]
                and isinstance(event, Event)
                and not note
                and event.event not in rules
            ):
                result, is_taken = Result(event.event_id, "ok"), True
            else:
                result, others[number] = self._check_one(event, note, arrival, rules)
                is_taken = others[number] is not None
            results.append(result)
            if is_taken:
                places.append(begin + number)
        parts.append(records.completed(others))

    def _columns(self, batch: Batch, begin: int, end: int, project_id: str) -> Columns | None:
        if batch.columns is not None:
            return batch.columns.part(begin, end)
        return columns_of(batch.events[begin:end], project_id) if end - begin >= WORTH else None

    def _check_one(
        self, event: Event | Unreadable, note: str, arrival: Arrival, rules: Mapping[str, Rule]
    ) -> tuple[Result, tuple[bytes, bytes] | None]:
        if isinstance(event, Unreadable):
            return Result(event.event_id, "drop", str(event.error), event.error.field), None
        try:
            row = check(event, arrival, note, self._limits)
            if rule := rules.get(row.event):
                row = conform(row, rule)
            record = self._encode(row, arrival.received_at)
        except InvalidRequest as error:
            return Result(event.event_id, "drop", str(error), error.field), None
        verdict: Verdict = "warning" if row.warning else "ok"
        return Result(row.event_id, verdict, row.warning), record

    async def _deliver(self, checked: _Checked) -> list[Result]:
        results, parts, places = checked
        failures = await self._producer.send(parts)
        for number, failure in failures.items():
            place = places[number]
            verdict: Verdict = "drop" if failure.too_large else "retry"
            results[place] = Result(results[place].event_id, verdict, failure.reason)
        return results

    def _encode(self, row: Row, received_at: int) -> tuple[bytes, bytes]:
        key, value = self._encoder.encode(row, received_at)
        most = self._limits.max_event_bytes
        if len(value) > most:
            raise TooLarge(f"the event has {len(value)} bytes", "max_event_bytes", most)
        return key, value
