"""Corrects the clocks of devices: a right clock is left alone, a wrong one shifted steadily.

`received_at - sent_at` is how far a device's clock is behind, and how long its request took. So a
device whose clock seems right within a tolerance keeps its own times. Beyond it, the first reading
is the device's offset from then on, so that its events stay in its own order; it is estimated again
only when a reading differs from it by more than the tolerance, and is not just late.

A `sent_at` before the event is not when it was sent, and corrects nothing. No corrected time is
after the receipt.

Only devices with wrong clocks have a row. The rows are bounded: those that were not used for the
longest time make room. They are in the Tracker's snapshots, or come from the inbox's last hours.
"""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.columnar.jit import AnyArray, Int64s, register_example
from pipelines.columnar.siphash import HashKey
from pipelines.columnar.string_column import ArrowColumn, StringColumn
from pipelines.tracker import clock_kernel as ck
from schemas.settings import Settings

ROWS: Final = 1 << 14  # a partition: 2.5 MB, of which only what is used takes memory
_LATEST_MS: Final = 253_402_300_799_999  # the end of the year 9999


class DeviceClocks:
    """How far the clocks of one partition's devices are behind ours."""

    def __init__(self, settings: Settings, rows: int = ROWS) -> None:
        self._tolerance = settings.clock_tolerance_s * 1000
        self._window = settings.dedup_window_s * 1000
        self._max_skew = settings.max_future_skew_s * 1000
        self._table = np.zeros((rows, ck.COLUMNS), np.int64)
        self._key = HashKey.random()

    def correct(
        self,
        columns: dict[str, ArrowColumn],
        timestamps: Int64s,
        received: Int64s,
        record_times: Int64s,
    ) -> Int64s:
        """Return when the events of a batch happened by our clock.

        `timestamps` are by the clocks of the devices. Events must be given in the order of their
        records, since each may say more about a clock.
        """
        if columns["sent_at"].null_count == len(timestamps):
            return timestamps
        sent = np.asarray(pc.coalesce(columns["sent_at"].cast(pa.int64()), pa.array(received)))
        rows = np.flatnonzero(2 * np.abs(received - sent) > self._tolerance)
        # What is no time at all is refused later, and must not overflow here.
        rows = rows[(sent[rows] >= 0) & (sent[rows] <= _LATEST_MS)]
        rows = rows[(timestamps[rows] >= 0) & (timestamps[rows] <= _LATEST_MS)]
        if not len(rows):
            return timestamps
        keys = np.empty(len(rows), np.uint64)
        ck.hash_devices(
            self._key,
            *StringColumn.of(columns["project_id"]),
            *StringColumn.of(columns["distinct_id"]),
            *StringColumn.of(pc.fill_null(columns["anonymous_id"], "")),
            rows,
            keys,
        )
        shifted = timestamps[rows]
        ck.correct(
            self._table,
            keys,
            shifted,
            sent[rows],
            received[rows],
            record_times[rows],
            self._tolerance,
            self._window,
            self._max_skew,
        )
        corrected = timestamps.copy()
        corrected[rows] = shifted
        return corrected

    @property
    def nbytes(self) -> int:
        """The memory held, in bytes."""
        return self._table.nbytes

    def dump(self) -> dict[str, AnyArray]:
        """Return a copy of the rows."""
        used = np.flatnonzero(self._table[:, ck.KEY])
        key = np.array([self._key.k0, self._key.k1], np.uint64)
        return {"clock_places": used, "clock_rows": self._table[used], "clock_key": key}

    def load(self, columns: dict[str, AnyArray]) -> None:
        """Replace the rows by those of a `dump` of the same number of rows."""
        self._table[:] = 0
        self._table[columns["clock_places"]] = columns["clock_rows"]
        self._key = HashKey(*columns["clock_key"])


@register_example
def _correct_one() -> None:
    column = StringColumn.empty(1)
    keys, rows, times = np.zeros(1, np.uint64), np.zeros(1, np.int64), np.zeros(1, np.int64)
    ck.hash_devices(HashKey.random(), *column, *column, *column, rows, keys)
    table = np.zeros((ck.WAYS, ck.COLUMNS), np.int64)
    ck.correct(table, keys, times, times, times, times, 1, 1, 1)
