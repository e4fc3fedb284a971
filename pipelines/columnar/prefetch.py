"""Prefetches memory in kernels that jump about in large columns.

The rows of a person lie anywhere in hundreds of megabytes, so a kernel would wait for memory at
each event. A batch says which events come next, so the kernel asks for their rows some events
ahead.
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from llvmlite import ir
from numba import types
from numba.core.typing.templates import Signature
from numba.extending import intrinsic, overload

from pipelines.columnar.jit import AnyArray, Int

Untyped: TypeAlias = Any  # objects of Numba and llvmlite, which ship no types

# How many turns of a loop ahead: the row first, then what the row refers to.
FAR: Final = 16
NEAR: Final = 8

_FOR_WRITING: Final = 1
_IN_ALL_CACHES: Final = 3
_DATA: Final = 1  # not instructions


def prefetch(column: AnyArray, place: Int) -> None:
    """Start loading `column[place]` into the cache; a place out of bounds does no harm.

    Outside of a kernel this does nothing.
    """


@overload(prefetch)  # type: ignore[untyped-decorator] # Numba's
def _compiled(column: Untyped, place: Untyped) -> Callable[..., None]:  # noqa: ARG001 (types)
    def call(column: Untyped, place: Untyped) -> None:  # annotated alike, or Numba refuses
        _prefetch(column, place)

    return call


@intrinsic  # type: ignore[untyped-decorator] # Numba's
def _prefetch(
    _: Untyped, column: types.Array, place: types.Integer
) -> tuple[Signature, Callable[..., Untyped]]:
    def generate(
        context: Untyped, builder: Untyped, signature: Signature, values: Untyped
    ) -> Untyped:
        array = context.make_array(signature.args[0])(context, builder, values[0])
        stride = builder.extract_value(array.strides, 0)
        distance = builder.mul(context.cast(builder, values[1], place, types.intp), stride)
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        address = builder.gep(builder.bitcast(array.data, byte), [distance])
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        instruction = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        flags = (number(flag) for flag in (_FOR_WRITING, _IN_ALL_CACHES, _DATA))
        builder.call(instruction, [address, *flags])
        return context.get_dummy_value()

    return types.none(column, place), generate
