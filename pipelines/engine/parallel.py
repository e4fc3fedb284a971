"""Calls for several definitions at the same time."""

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

A = TypeVar("A")
B = TypeVar("B")

# Below, handing the calls to threads takes longer than the calls themselves.
_MIN_ROWS: Final = 500

_threads: Final = ThreadPoolExecutor(2, thread_name_prefix="definitions")


def in_parallel(call: Callable[[A], B], arguments: Collection[A], rows: int) -> Iterator[B]:
    """Call with each argument, two at a time, and yield the results in order.

    Kernels run without the GIL. A single call is made by the calling thread, and so are all calls
    if each of them handles only a few `rows`.
    """
    return (_threads.map if len(arguments) > 1 and rows >= _MIN_ROWS else map)(call, arguments)
