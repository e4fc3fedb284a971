"""Reads the state of a model from named arrays that may come from anyone."""

from types import TracebackType
from typing import Final, Self

import numpy as np

from pipelines.columnar.jit import AnyArray, Int64s
from pipelines.models.arrays import Arrays, Float64s
from schemas.errors import InvalidRecord

REASON: Final = "invalid_model"
NOT_RESTORABLE: Final = "not_restorable"


class ArrayReader:
    """Takes arrays by name, and checks each; a normal exit checks that all have been taken.

    Raises:
        InvalidRecord: an array is missing, is not needed, or is not of the type, shape or range.
    """

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays
        self._left = set(arrays)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and self._left:
            raise InvalidRecord(REASON, f"arrays {sorted(self._left)} do not belong to the model")

    def floats(self, name: str, shape: tuple[int, ...], *, least: float = -np.inf) -> Float64s:
        """Return an array of finite float64 of `shape`, none of them below `least`."""
        array = self._take(name, np.float64, shape)
        if not np.isfinite(array).all():
            raise InvalidRecord(REASON, f"{name}: must be finite")
        if (array < least).any():
            raise InvalidRecord(REASON, f"{name}: must be {least:g} or more")
        return array

    def ints(self, name: str, shape: tuple[int, ...], least: int, most: int) -> Int64s:
        """Return an array of int64 of `shape`, each between `least` and `most`, both included."""
        array = self._take(name, np.int64, shape)
        if ((array < least) | (array > most)).any():
            raise InvalidRecord(REASON, f"{name}: must be {least} to {most}")
        return array

    def count(self, name: str) -> int:
        """Return the only item of an array, which is a count."""
        return int(self.ints(name, (1,), 0, 2**62)[0])

    def size(self, name: str) -> int:
        """Return the length of an array that is still to be taken; 0 if it is missing."""
        array = self._arrays.get(name)
        return len(array) if array is not None and array.ndim else 0

    def _take(self, name: str, dtype: type, shape: tuple[int, ...]) -> AnyArray:
        if name not in self._arrays:
            raise InvalidRecord(REASON, f"{name}: is missing")
        array = self._arrays[name]
        if array.dtype != dtype or array.shape != shape:
            raise InvalidRecord(
                REASON,
                f"{name}: must be {np.dtype(dtype).name} of shape {shape}, "
                f"and is {array.dtype.name} of shape {array.shape}",
            )
        self._left.discard(name)
        return array
