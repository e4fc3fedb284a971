"""Bound memory: admit a request, or refuse it with `BackOff`, before its body is read."""

from collections.abc import Iterator
from contextlib import contextmanager

from schemas.errors import BackOff
from services.ingest.limits import Limits
from services.ingest.produce import Producer


class Reservation:
    """The memory that one request holds for its body."""

    def __init__(self, admission: "Admission") -> None:
        self._admission = admission
        self.size = 0

    def grow(self, size: int) -> None:
        """Reserve `size` more bytes.

        Raises:
            BackOff: the process holds too much; the bytes are reserved until the request ends.
        """
        self.take(size)
        self._admission.check_bytes()

    def take(self, size: int) -> None:
        """Reserve `size` more bytes even beyond the limit."""
        self.size += size
        self._admission.held_bytes += size

    def shrink(self, size: int) -> None:
        """Release `size` bytes before the request ends."""
        self.size -= size
        self._admission.held_bytes -= size


class Admission:
    """Counts what the process holds: bodies in memory, and events that wait for the broker.

    Attributes:
        held_bytes: the sum of all reservations.
    """

    def __init__(self, producer: Producer, limits: Limits) -> None:
        self.held_bytes = 0
        self._producer = producer
        self._limits = limits

    @contextmanager
    def admit(self) -> Iterator[Reservation]:
        """Admit one request; its reservation is released when the block ends.

        Raises:
            BackOff: the process is at a limit.
        """
        self.check()
        reservation = Reservation(self)
        try:
            yield reservation
        finally:
            self.held_bytes -= reservation.size

    def check(self) -> None:
        """Raise `BackOff` if the process is at a limit."""
        limit = self._limits.max_unacknowledged_events
        if self._producer.unacknowledged >= limit:
            raise self._back_off(
                f"{limit} events (max_unacknowledged_events) wait for the broker, the maximum"
            )
        self.check_bytes()

    def check_bytes(self) -> None:
        """Raise `BackOff` if request bodies take more memory than the limit."""
        limit = self._limits.max_held_bytes
        if self.held_bytes > limit:
            raise self._back_off(f"request bodies take more than {limit} bytes (max_held_bytes)")

    def _back_off(self, reason: str) -> BackOff:
        return BackOff(f"{reason}: try again later", self._limits.retry_after_s)
