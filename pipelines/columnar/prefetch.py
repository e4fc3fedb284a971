"""Asking for memory before it is needed, in kernels that jump about in large columns.

A person's rows lie anywhere in hundreds of megabytes, so a kernel would wait for memory at each
event. The events to come are known: what they will touch is asked for some events ahead.
"""

from collections.abc import Callable
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core.typing.templates import Signature
from numba.extending import intrinsic, overload

from pipelines.columnar.jit import Int

# How many turns of a loop ahead: the row first, then what the row refers to.
FAR: Final = 16
NEAR: Final = 8

_TO_WRITE: Final = 1
_KEEP: Final = 3  # in all caches
_DATA: Final = 1  # not instructions


def prefetch(column: Any, place: Int) -> None:
    """Have `column[place]` on its way into the cache; a place that there is not does no harm.

    Outside of a kernel it does nothing.
    """


@overload(prefetch)  # type: ignore[untyped-decorator]
def _compiled(column: Any, place: Int) -> Callable[..., None]:  # noqa: ARG001 (types)
    def ask(column: Any, place: Int) -> None:
        _ask(column, place)

    return ask


@intrinsic  # type: ignore[untyped-decorator]
def _ask(_: Any, column: types.Array, place: types.Integer) -> tuple[Signature, Callable[..., Any]]:
    def generate(context: Any, builder: Any, signature: Signature, values: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, values[0])
        stride = builder.extract_value(array.strides, 0)
        distance = builder.mul(context.cast(builder, values[1], place, types.intp), stride)
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        address = builder.gep(builder.bitcast(array.data, byte), [distance])
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        ask = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        builder.call(ask, [address, *(number(flag) for flag in (_TO_WRITE, _KEEP, _DATA))])
        return context.get_dummy_value()

    return types.none(column, place), generate
