"""Retries and logging for the worker's Kafka clients, which survive the absence of a broker."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

import structlog
from confluent_kafka import KafkaError, KafkaException

log = structlog.get_logger(__name__)
T = TypeVar("T")

CALL_TIMEOUT_S: Final = 30.0
RETRY_AFTER_S: Final = 1.0
_DEADLINE_S: Final = 120.0
_QUIET_FOR_S: Final = 10.0

# librdkafka reconnects by itself: not too often, and without a log line for each attempt.
QUIET: Final[dict[str, int]] = {
    "log_level": 2,
    "reconnect.backoff.ms": 200,
    "reconnect.backoff.max.ms": 2_000,
}


class RetryDeadline:
    """A deadline two minutes after the last success."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Start the two minutes again: a call has succeeded."""
        self._until = time.monotonic() + _DEADLINE_S

    def ends_with(self, error: KafkaException) -> bool:
        """Return whether to give up: the deadline has passed, or the error is fatal."""
        return time.monotonic() > self._until or bool(error.args[0].fatal())


def retrying(call: Callable[..., T], *args: object, **options: object) -> T:
    """Make an idempotent call, and repeat it every second while it fails. Blocks.

    Raises:
        KafkaException: it has failed for two minutes, or the error is fatal.
    """
    deadline = RetryDeadline()
    while True:
        try:
            return call(*args, **options)
        except KafkaException as error:
            if deadline.ends_with(error):
                raise
            log.warning("retrying", call=call.__name__, error=str(error))
            time.sleep(RETRY_AFTER_S)


_logged_at: dict[str, float] = {}


def log_client_error(error: KafkaError) -> None:
    """Log an error that a client reports, unless the same one was reported in the last 10 s."""
    now = time.monotonic()
    last, _logged_at[error.name()] = _logged_at.get(error.name(), -_QUIET_FOR_S), now
    if now - last >= _QUIET_FOR_S:
        log.warning("kafka client error", error=error.str(), code=error.name())
