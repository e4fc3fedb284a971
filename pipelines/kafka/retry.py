"""What the worker's Kafka clients have in common: they outlive a broker that goes away."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

import structlog
from confluent_kafka import KafkaError, KafkaException

log = structlog.get_logger(__name__)
T = TypeVar("T")

CALL_TIMEOUT_S: Final = 30.0
AGAIN_AFTER_S: Final = 1.0
_PATIENCE_S: Final = 120.0
_NEWS_AFTER_S: Final = 10.0

# librdkafka mends lost connections itself: neither in a hurry, nor with a line for every attempt.
QUIET: Final[dict[str, int]] = {
    "log_level": 2,
    "reconnect.backoff.ms": 200,
    "reconnect.backoff.max.ms": 2_000,
}


class RetryDeadline:
    """Two minutes, counted from the last success."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """There was a success."""
        self._until = time.monotonic() + _PATIENCE_S

    def ends_with(self, error: KafkaException) -> bool:
        """Whether to give up: it has lasted too long, or no patience helps with this error."""
        return time.monotonic() > self._until or bool(error.args[0].fatal())


def retrying(call: Callable[..., T], *args: object, **options: object) -> T:
    """Make a call that changes nothing, again each second while the broker is away. Blocks.

    Raises:
        KafkaException: it was away for two minutes.
    """
    deadline = RetryDeadline()
    while True:
        try:
            return call(*args, **options)
        except KafkaException as error:
            if deadline.ends_with(error):
                raise
            log.warning("trying again", call=call.__name__, error=str(error))
            time.sleep(AGAIN_AFTER_S)


_said_at: dict[str, float] = {}


def log_client_error(error: KafkaError) -> None:
    """Say what a client reports; that the broker is away is news once, not at every attempt."""
    now = time.monotonic()
    last, _said_at[error.name()] = _said_at.get(error.name(), -_NEWS_AFTER_S), now
    if now - last >= _NEWS_AFTER_S:
        log.warning("kafka", error=error.str(), code=error.name())
