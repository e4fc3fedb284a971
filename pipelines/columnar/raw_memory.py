"""Reads memory at addresses, and calls C functions at addresses, inside kernels.

The memory is a C library's: an address that is wrong by a byte crashes the process, so whoever
passes one has to know the layout of what lies there. Numbers need not be aligned.
"""

from collections.abc import Callable
from typing import Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from pipelines.columnar.jit import Int
from pipelines.columnar.prefetch import Untyped

_UNALIGNED: Final = 1


def _reader(bits: int) -> Callable[[Int], Int]:
    @intrinsic  # type: ignore[untyped-decorator] # Numba's
    def read(_: Untyped, address: Untyped) -> Untyped:  # noqa: ARG001 (its type)
        def generate(
            _context: Untyped, builder: Untyped, _signature: Untyped, given: Untyped
        ) -> Untyped:
            kind = ir.IntType(bits)
            number = builder.load(builder.inttoptr(given[0], kind.as_pointer()), align=_UNALIGNED)
            return number if bits == 64 else builder.sext(number, ir.IntType(64))

        return types.int64(types.int64), generate

    return read  # type: ignore[no-any-return] # Numba's


def _caller(count: int) -> Callable[..., Int]:
    @intrinsic  # type: ignore[untyped-decorator] # Numba's
    def call(_: Untyped, function: Untyped, arguments: Untyped) -> Untyped:  # noqa: ARG001 (types)
        def generate(
            _context: Untyped, builder: Untyped, _signature: Untyped, given: Untyped
        ) -> Untyped:
            word = ir.IntType(64)
            kind = ir.FunctionType(word, [word] * count)
            values = cgutils.unpack_tuple(builder, given[1], count)
            return builder.call(builder.inttoptr(given[0], kind.as_pointer()), values)

        return types.int64(types.int64, types.UniTuple(types.int64, count)), generate

    return call  # type: ignore[no-any-return] # Numba's


# `read(address)`: the number there, with its sign.
int64_at: Final = _reader(64)
int32_at: Final = _reader(32)
int8_at: Final = _reader(8)

# `call(address of the function, its arguments)`: pointers and integers of 64 bits. Of the result,
# only as many bits count as the function returns: none, 32 or 64.
call_1: Final = _caller(1)
call_2: Final = _caller(2)
call_5: Final = _caller(5)


@intrinsic  # type: ignore[untyped-decorator] # Numba's
def copy_memory(_: Untyped, to: Untyped, of: Untyped, size: Untyped) -> Untyped:  # noqa: ARG001 (types)
    """Copy `size` bytes from the address `of` to the address `to`."""

    def generate(
        context: Untyped, builder: Untyped, _signature: Untyped, given: Untyped
    ) -> Untyped:
        byte = ir.IntType(8).as_pointer()
        target, source = (builder.inttoptr(address, byte) for address in given[:2])
        cgutils.raw_memcpy(builder, target, source, given[2], 1)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64), generate
