"""Calls for several definitions at the same time."""

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

A = TypeVar("A")
B = TypeVar("B")

_threads: Final = ThreadPoolExecutor(2, thread_name_prefix="definitions")


def in_parallel(call: Callable[[A], B], arguments: Collection[A]) -> Iterator[B]:
    """Call with each argument, two at a time, and yield the results in order.

    Kernels run without the GIL. A single call is made by the calling thread.
    """
    return (_threads.map if len(arguments) > 1 else map)(call, arguments)
