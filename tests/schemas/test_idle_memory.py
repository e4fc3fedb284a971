"""Memory is returned once after each busy time."""

import ctypes

from schemas.idle_memory import IdleWatch


def test_memory_is_returned_once_a_busy_process_rests() -> None:
    watch = IdleWatch()
    looks = [(20, 15.0), (40, 30.0), (60, 30.5), (80, 30.6), (100, 31.0), (120, 45.0), (140, 45.1)]
    assert [watch.is_due(*look) for look in looks] == [
        False,
        False,
        True,  # half a second of work in twenty seconds
        False,  # there is nothing new to return
        False,
        False,  # busy again
        True,
    ]


def test_this_c_library_can_return_memory() -> None:
    """Elsewhere, `return_memory_when_idle` does nothing."""
    assert ctypes.CDLL(None).malloc_trim(0) in (0, 1)
