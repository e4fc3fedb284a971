"""How kernels are compiled: plain loops over columns, in machine code, without the GIL.

A kernel has no I/O, allocates nothing and looks at no clock. Compiled code is
cached beside the module, or in the user's cache where that is not writable. A kernel is compiled
anew for every combination of types it is called with: kernels hand each other int64 scalars.

A kernel that another one calls becomes part of it. To hand over an array is to hand over seven
numbers, and a fold hands over half a dozen of them for every event: that took a third of its time.
Nor are references to arrays counted, which the caller holds all along: that was done atomically at
each such place, and took from a third to three quarters of what was left. It is why a kernel can
make no array: it is given the room it needs.
"""

from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

P = ParamSpec("P")
T = TypeVar("T")

# A scalar inside a kernel. What type checkers make of arithmetic on NumPy's scalars helps nobody.
Int: TypeAlias = Any
Int32s: TypeAlias = NDArray[np.int32]
Int64s: TypeAlias = NDArray[np.int64]
UInt64s: TypeAlias = NDArray[np.uint64]
Bytes: TypeAlias = NDArray[np.uint8]
Bools: TypeAlias = NDArray[np.bool_]


# `_nrt` is the runtime that counts references.
_compile: Final = njit(cache=True, nogil=True, forceinline=True, _nrt=False)

_examples: Final[list[Callable[[], None]]] = []


def kernel(function: Callable[P, T]) -> Callable[P, T]:
    """Compile `function` at its first call."""
    return cast(Callable[P, T], _compile(function))


def register_example(call: Callable[[], None]) -> Callable[[], None]:
    """Register a call of kernels with the types that they are called with in production.

    Whoever wants no kernel to be compiled later makes all calls of `examples` first.
    """
    _examples.append(call)
    return call


def examples() -> tuple[Callable[[], None], ...]:
    """Return the registered calls: those of all modules that have been imported."""
    return tuple(_examples)
