"""Decides, before a body is read, whether there is room for it; so that memory stays bounded."""

from collections.abc import Iterator
from contextlib import contextmanager

from schemas.errors import BackOff
from services.ingest.limits import Limits
from services.ingest.produce import Producer


class Hold:
    """The memory that one request takes for its body."""

    def __init__(self, admission: "Admission") -> None:
        self._admission = admission
        self.size = 0

    def grow(self, size: int) -> None:
        """Take `size` bytes more.

        Raises:
            BackOff: there is no room for them.
        """
        self.take(size)
        self._admission.check_bytes()

    def take(self, size: int) -> None:
        """Take `size` bytes more, whether or not there is room for them."""
        self.size += size
        self._admission.held_bytes += size

    def shrink(self, size: int) -> None:
        """Give `size` bytes back before the end."""
        self.size -= size
        self._admission.held_bytes -= size


class Admission:
    """The room there is: for bodies in memory, and for events that wait for the broker."""

    def __init__(self, producer: Producer, limits: Limits) -> None:
        self.held_bytes = 0
        self._producer = producer
        self._limits = limits

    @contextmanager
    def admit(self) -> Iterator[Hold]:
        """Let one request in; what it holds is given back at the end.

        Raises:
            BackOff: there is no room now.
        """
        self.check()
        hold = Hold(self)
        try:
            yield hold
        finally:
            self.held_bytes -= hold.size

    def check(self) -> None:
        """Raise `BackOff` if there is no room for anything more."""
        most = self._limits.max_unacknowledged_events
        if self._producer.unacknowledged >= most:
            raise self._back_off(f"{most} events (max_unacknowledged_events) wait for the broker")
        self.check_bytes()

    def check_bytes(self) -> None:
        """Raise `BackOff` if the bodies in memory are more than they may be."""
        most = self._limits.max_held_bytes
        if self.held_bytes > most:
            raise self._back_off(f"{most} bytes (max_held_bytes) of requests are in work")

    def _back_off(self, reason: str) -> BackOff:
        return BackOff(f"{reason}: try again later", self._limits.retry_after_s)
