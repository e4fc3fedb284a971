"""Compiles kernels: plain loops over columns, in machine code, without the GIL.

A kernel does no I/O, allocates nothing and reads no clock. Its machine code is cached beside the
module, or in the user's cache directory if that is not writable. Numba compiles a kernel for each
combination of argument types, so kernels pass int64 scalars to each other. A kernel is compiled
again when its module, or one that this imports, has changed (`kernel_sources`): a cache can be
copied with the modules.

Kernels are inlined into the kernels that call them. Passing an array means passing seven numbers,
and a fold passes half a dozen arrays for every event: that took a third of its time. References to
arrays are not counted either, because the caller holds them all along: the atomic counting took a
third to three quarters of the rest. Without it a kernel cannot create an array, so its caller
passes in the arrays that it writes to.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipelines.columnar.kernel_cache import KernelCacheFile
from pipelines.columnar.kernel_sources import digest_of

P = ParamSpec("P")
T = TypeVar("T")

# A scalar inside a kernel. `Any`, because type checkers reject sound arithmetic on NumPy scalars.
Int: TypeAlias = Any
# An array of records inside a kernel, and one of them: type checkers do not know their fields.
StructArray: TypeAlias = Any
Struct: TypeAlias = Any
Int32s: TypeAlias = NDArray[np.int32]
Int64s: TypeAlias = NDArray[np.int64]
UInt32s: TypeAlias = NDArray[np.uint32]
UInt64s: TypeAlias = NDArray[np.uint64]
Bytes: TypeAlias = NDArray[np.uint8]
Bools: TypeAlias = NDArray[np.bool_]
AnyArray: TypeAlias = NDArray[Any]  # of a type that only its user knows


# `_nrt` is the runtime that counts references to arrays. Nobody calls a kernel from C, so none has
# a wrapper for that, which would take a twentieth of the time to compile.
_compile: Final = njit(cache=True, nogil=True, forceinline=True, _nrt=False, no_cfunc_wrapper=True)

_examples: Final[list[Callable[[], None]]] = []


def kernel(function: Callable[P, T]) -> Callable[P, T]:
    """Compile `function` at its first call."""
    dispatcher: Any = _compile(function)
    # Numba has no public way to say what machine code in its cache depends on. By itself it looks
    # at the time and size of the kernel's own module.
    cache = dispatcher._cache  # noqa: SLF001
    cache._cache_file = KernelCacheFile(  # noqa: SLF001
        cache_path=cache.cache_path,
        filename_base=cache._impl.filename_base,  # noqa: SLF001
        source_stamp=digest_of(Path(function.__code__.co_filename)),
    )
    return cast(Callable[P, T], dispatcher)


def register_example(call: Callable[[], None]) -> Callable[[], None]:
    """Register a call of kernels with the types that they are called with in production.

    Whoever wants no kernel to be compiled later makes all calls of `examples` first.
    """
    _examples.append(call)
    return call


def examples() -> tuple[Callable[[], None], ...]:
    """Return the registered calls: those of all modules that have been imported."""
    return tuple(_examples)
