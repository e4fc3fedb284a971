"""How a worker reads and commits, and the consumer that reads so."""

from typing import Final, NamedTuple

from pipelines.kafka.consumers import ColumnConsumer, open_consumer
from pipelines.kafka.retry import QUIET, log_client_error
from schemas.cluster import Address, client_config
from schemas.consumer_defaults import CONSUMER_DEFAULTS

MAX_RECORDS: Final = 40_000


class EpochSettings(NamedTuple):
    """How a worker reads and commits."""

    cluster: Address
    group: str
    transactional_id: str
    client_id: str = "avila"
    max_records: int = MAX_RECORDS
    commit_interval_ms: int = 200
    session_timeout_ms: int = 10_000

    @property
    def transaction_timeout_ms(self) -> int:
        """For how long the open transaction of a dead worker can hold up readers.

        A killed broker must be back well within this time: see `services.broker`.
        """
        return max(2 * self.session_timeout_ms, 45_000)


def group_consumer(settings: EpochSettings) -> ColumnConsumer:
    """Create the consumer of a worker; it begins to connect, and commits nothing by itself."""
    own: dict[str, object] = {
        "group.id": settings.group,
        "client.id": settings.client_id,
        "partition.assignment.strategy": "cooperative-sticky",
        "isolation.level": "read_committed",
        # An offset that is gone is reported, so that it is counted before reading continues.
        "auto.offset.reset": "error",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "session.timeout.ms": settings.session_timeout_ms,
        "heartbeat.interval.ms": settings.session_timeout_ms // 5,
        # A restore polls as it goes, so this bounds the processing of one epoch.
        "max.poll.interval.ms": 300_000,
        # Their metadata refresh bounds how late a topic is noticed that was deleted or recreated.
        **CONSUMER_DEFAULTS,
        # librdkafka's default pause of a second after a full queue would starve a fast worker.
        "fetch.queue.backoff.ms": 5,
        "queued.max.messages.kbytes": 65_536,
        "max.partition.fetch.bytes": 4_194_304,
        **QUIET,
    }
    return open_consumer(client_config(settings.cluster, own), log_client_error)
