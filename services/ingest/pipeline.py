"""The pipeline of all formats: authorize, check, plan, encode, produce, and collect the results."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import msgspec
import numpy as np

from pipelines.kafka.bulk_producer import RecordColumns
from schemas.errors import InvalidRequest
from services.ingest.access import Access
from services.ingest.check import Arrival, check, read_arrival
from services.ingest.encode import Encoder
from services.ingest.events import Batch, Event, EventResult, Row, Unreadable, Verdict
from services.ingest.fast_path.batch import MIN_BATCH, FastEncoder, columns_of, empty_records
from services.ingest.fast_path.columns import Columns
from services.ingest.fast_path.recent import RecentEvents
from services.ingest.json_text import compile_kernels
from services.ingest.limits import Limits, TooLarge
from services.ingest.plans import Plans, Rule, conform
from services.ingest.produce import Producer

# Events that the fast path checks before other requests get a turn: under a millisecond of work.
_CHUNK_EVENTS: Final = 500
# How long other events may be checked one by one until then.
_TURN_S: Final = 0.002

_NO_RULES: Final[dict[str, Rule]] = {}


class _CheckedBatch(NamedTuple):
    """A batch ready to be produced: the result of each event if all goes well, and the records.

    The records come in parts, one a chunk; `places` are the indexes of their results.
    """

    results: list[EventResult]
    parts: list[RecordColumns]
    places: list[int]


class IngestPipeline:
    """Takes batches of any format. `clock` returns milliseconds since 1970."""

    def __init__(
        self,
        producer: Producer,
        encoder: Encoder,
        limits: Limits,
        access: Access,
        plans: Plans,
        recent: RecentEvents,
        clock: Callable[[], int],
    ) -> None:
        self._producer = producer
        self._encoder = encoder
        compile_kernels()
        self._fast_encoder = FastEncoder(encoder, limits)
        self._limits = limits
        self._access = access
        self._plans = plans
        self._recent = recent
        self._clock = clock

    async def take(self, batch: Batch) -> list[EventResult]:
        """Deliver `batch` and return the result of each event, in its order.

        Events go to the project of the batch's write key; those that name another are dropped. The
        broker has every event that is answered `ok` or `warning`, and none answered `drop`.
        Waits for the broker, at most for the delivery timeout.

        Raises:
            TooLarge: the batch has too many events; as with the following, none was taken.
            Unauthorized, Forbidden: the write key is not valid, or not for this.
            BackOff: the key or its project is over a limit (`OverLimit`), or keys are not read yet.
        """
        return await self._deliver(await self._check(batch))

    async def send(self, batch: Batch) -> asyncio.Task[list[EventResult]]:
        """Hand `batch` to the producer and return a task with the results of `take`.

        Batches are produced in the order of these calls, and may wait for the broker together. This
        call itself does not wait for the broker; it lets other requests have their turns.

        Raises:
            TooLarge, Unauthorized, Forbidden, BackOff: as `take`; none was taken.
        """
        # Tasks start in the order of their creation, and this one produces before it waits.
        return asyncio.create_task(self._deliver(await self._check(batch)))

    async def _check(self, batch: Batch) -> _CheckedBatch:
        limit = self._limits.max_events
        if len(batch.events) > limit:
            raise TooLarge(f"{len(batch.events)} events in one request", "max_events", limit)
        project_id = self._access.admit(batch.key, batch.origin, len(batch.events))
        rules = self._plans.rules.get(project_id, _NO_RULES)
        arrival = read_arrival(
            project_id,
            batch.sent_at,
            self._clock(),
            batch.project_id,
            text_ids=batch.text_ids,
        )
        checked = _CheckedBatch([], [], [])
        for begin in range(0, len(batch.events), _CHUNK_EVENTS):
            if begin:
                await asyncio.sleep(0)
            await self._check_chunk(batch, begin, arrival, rules, checked)
        return checked

    async def _check_chunk(
        self,
        batch: Batch,
        begin: int,
        arrival: Arrival,
        rules: Mapping[str, Rule],
        checked: _CheckedBatch,
    ) -> None:
        """Check the chunk of events that begins at `begin`, and append to `checked`."""
        results, parts, places = checked
        end = min(begin + _CHUNK_EVENTS, len(batch.events))
        records = empty_records(end - begin)
        columns = self._columns(batch, begin, end, arrival.project_id)
        if columns is not None:
            records = self._fast_encoder.encode(columns, arrival)
            if not rules and not batch.notes and records.present().all():
                results += [EventResult(event_id, "ok") for event_id in columns.ids()]
                parts.append(records)
                places += range(begin, end)
                return
        is_encoded = records.present().tolist()
        others: dict[int, tuple[bytes, bytes] | None] = {}
        turn_ends = time.perf_counter() + _TURN_S
        for number, event in enumerate(batch.events[begin:end]):
            note = batch.notes.get(begin + number, "")
            if (
                is_encoded[number]
                and isinstance(event, Event)
                and not note
                and event.event not in rules
            ):
                result, is_taken = EventResult(event.event_id, "ok"), True
            else:
                result, others[number] = self._check_one(event, note, arrival, rules)
                is_taken = others[number] is not None
                if time.perf_counter() > turn_ends:
                    await asyncio.sleep(0)
                    turn_ends = time.perf_counter() + _TURN_S
            results.append(result)
            if is_taken:
                places.append(begin + number)
        parts.append(records.completed(others))

    def _columns(self, batch: Batch, begin: int, end: int, project_id: str) -> Columns | None:
        if batch.columns is not None:
            return batch.columns.part(begin, end)
        if end - begin < MIN_BATCH:
            return None
        return columns_of(batch.events[begin:end], project_id)

    def _check_one(
        self, event: Event | Unreadable, note: str, arrival: Arrival, rules: Mapping[str, Rule]
    ) -> tuple[EventResult, tuple[bytes, bytes] | None]:
        if isinstance(event, Unreadable):
            return EventResult(event.event_id, "drop", str(event.error), event.error.field), None
        try:
            row = check(event, arrival, note, self._limits)
            if rule := rules.get(row.event):
                row = conform(row, rule)
            record = self._encode(row, arrival.received_at)
        except InvalidRequest as error:
            return EventResult(event.event_id, "drop", str(error), error.field), None
        verdict: Verdict = "warning" if row.warning else "ok"
        return EventResult(row.event_id, verdict, row.warning), record

    async def _deliver(self, checked: _CheckedBatch) -> list[EventResult]:
        results, parts, places = checked
        failures = await self._producer.send(parts)
        if not failures:
            self._mark_duplicates(checked)
        for number, failure in failures.items():
            place = places[number]
            verdict: Verdict = "drop" if failure.too_large else "retry"
            results[place] = EventResult(results[place].event_id, verdict, failure.reason)
        return results

    def _mark_duplicates(self, checked: _CheckedBatch) -> None:
        results, parts, places = checked
        begin, now = 0, self._clock()
        for part in parts:
            for number in np.flatnonzero(self._recent.add(part, now)).tolist():
                place = places[begin + number]
                results[place] = msgspec.structs.replace(results[place], duplicate=True)
            begin += len(part.ends)

    def _encode(self, row: Row, received_at: int) -> tuple[bytes, bytes]:
        key, value = self._encoder.encode(row, received_at)
        limit = self._limits.max_event_bytes
        if len(value) > limit:
            raise TooLarge(f"the event has {len(value)} bytes", "max_event_bytes", limit)
        return key, value
