"""Detects when the loss of a model has changed: River's ADWIN, which can be stored and restored.

River keeps the state of ADWIN in compiled code, which gives and takes it as bytes. They are taken
apart into numbers here, and put together again from numbers that have been checked, so that no
bytes of a record reach River.
"""

import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np

from pipelines.columnar.jit import Int64s
from pipelines.models.arrays import Arrays, Float64s
from pipelines.models.parts import REASON, ArrayReader
from schemas.errors import InvalidRecord, Misconfigured

if TYPE_CHECKING:
    from river.drift import ADWIN

# The state of ADWIN in River 0.26: what it was made with, four sums (total, variance, width and
# the sum of widths), four counters, and a level for each power of 2 with up to six buckets.
_SETTINGS: Final = 36
_SUMS: Final = struct.Struct("<4d4IQ")
_LEVEL: Final = struct.Struct("<QQQ6dQ6d")
_BUCKETS: Final = 6
_MAX_LEVELS: Final = 48


class Drift(NamedTuple):
    """A change of the mean loss: found at the example that is `example` in the call, from 0.

    `before` and `after` are the means of ADWIN's window with and without what it dropped.
    """

    example: int
    before: float
    after: float


class DriftDetector:
    """ADWIN on the losses of a model, with River's defaults. Not thread-safe.

    It imports River, which takes two seconds the first time.
    """

    def __init__(self) -> None:
        self.examples = 0
        self.drifts = 0
        self._adwin = _new()

    def add(self, losses: Float64s) -> list[Drift]:
        """Take in losses, in order; return the drifts that they show."""
        drifts = []
        for example, loss in enumerate(losses.tolist()):
            before = self._adwin.estimation
            self._adwin.update(loss)
            if self._adwin.drift_detected:
                drifts.append(Drift(example, before, self._adwin.estimation))
        self.examples += len(losses)
        self.drifts += len(drifts)
        return drifts

    def arrays(self) -> Arrays:
        """Return the state, copied."""
        helper = _helper(self._adwin)
        data: bytes = helper.__getstate__()
        *sums, levels = _SUMS.unpack_from(data, _SETTINGS)
        rows = [
            _LEVEL.unpack_from(data, _SETTINGS + _SUMS.size + level * _LEVEL.size)
            for level in range(levels)
        ]
        return {
            "counts": np.array([self.examples, self.drifts], np.int64),
            "detected": np.array([self._adwin.drift_detected], np.int64),
            "sums": np.array(sums[:4], np.float64),
            "counters": np.array(sums[4:], np.int64),
            "sizes": np.array([row[1] for row in rows], np.int64),
            "totals": np.array([row[3:9] for row in rows], np.float64),
            "variances": np.array([row[10:] for row in rows], np.float64),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Return the detector whose `arrays` these are: it goes on as if it had never stopped.

        Raises:
            InvalidRecord: they are not the state of one.
        """
        detector = cls()
        with ArrayReader(arrays) as reader:
            levels = reader.size("sizes")
            if not 1 <= levels <= _MAX_LEVELS:
                raise InvalidRecord(REASON, f"sizes: must be 1 to {_MAX_LEVELS} levels")
            detector.examples, detector.drifts = reader.ints("counts", (2,), 0, 2**62).tolist()
            detected = bool(reader.ints("detected", (1,), 0, 1)[0])
            sums = reader.floats("sums", (4,))
            counters = reader.ints("counters", (4,), 0, 2**32 - 1)
            sizes = reader.ints("sizes", (levels,), 0, _BUCKETS)
            totals = reader.floats("totals", (levels, _BUCKETS))
            variances = reader.floats("variances", (levels, _BUCKETS))
        if sums[2] != _width(sizes):
            raise InvalidRecord(REASON, "sizes: must add up to the width")
        helper = _helper(detector._adwin)
        fresh: bytes = helper.__getstate__()
        max_size = _LEVEL.unpack_from(fresh, _SETTINGS + _SUMS.size)[0]
        helper.__setstate__(
            b"".join(
                (
                    fresh[:_SETTINGS],
                    _SUMS.pack(*sums.tolist(), *counters.tolist(), levels),
                    *(
                        _LEVEL.pack(max_size, size, _BUCKETS, *total, _BUCKETS, *variance)
                        for size, total, variance in zip(
                            sizes.tolist(), totals.tolist(), variances.tolist(), strict=True
                        )
                    ),
                    fresh[_SETTINGS + _SUMS.size + _LEVEL.size :],
                )
            )
        )
        detector._adwin._drift_detected = detected  # noqa: SLF001 # River has no setter
        return detector


def _new() -> "ADWIN":
    from river.drift import ADWIN  # noqa: PLC0415 # takes two seconds: see `pipelines.models`

    adwin = ADWIN()
    data: bytes = _helper(adwin).__getstate__()
    if len(data) != _SETTINGS + _SUMS.size + _LEVEL.size + 28:
        raise Misconfigured("River's ADWIN has a state of another layout than that of River 0.26")
    return adwin


def _helper(adwin: "ADWIN") -> Any:
    return adwin._helper  # noqa: SLF001 # River has no getter


def _width(sizes: Int64s) -> int:
    return sum(size << level for level, size in enumerate(sizes.tolist()))
