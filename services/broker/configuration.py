"""The broker's configuration: what differs from Kafka's defaults, and why.

Files and directories are relative to the broker's working directory, since Kafka and Log4j split
paths at commas and take other characters for escapes.
"""

from typing import Final

LOG_DIR: Final = "log"

_PROPERTIES: Final = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{host}:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller_port}
log.dirs={log_dir}

# One node holds everything, in few partitions.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1

# Topics are declared in schemas/topics.py; using a misspelt name must fail.
auto.create.topics.enable=false
# Ingest refuses an event that is too large, and says why; the broker's limit is never reached.
message.max.bytes=4194304

# Exactly-once delivery needs the committed offsets, and a laptop may sleep for more than the
# default of a week.
offsets.retention.minutes=5256000
# A transaction that a dead worker left open blocks every reader until the broker aborts it.
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
group.initial.rebalance.delay.ms=0
# A single node has nothing to fail over to: on a busy machine it must neither declare itself dead
# nor give up its start. After a kill, however, it registers only when its last session has expired.
# That must happen before the open transactions time out: until then their coordinator has no leader
# to send the end markers to, concludes that all partitions were deleted, and leaves them open for
# ever. See `EpochSettings.transaction_timeout_ms`.
broker.session.timeout.ms=18000
initial.broker.registration.timeout.ms=300000

# For a small machine: each idle thread wakes several times a second, and by default the controller
# writes a no-op record twice a second.
metadata.max.idle.interval.ms=0
num.network.threads=2
num.io.threads=4
background.threads=1
group.coordinator.threads=1
share.coordinator.threads=1
num.recovery.threads.per.data.dir=2
log.cleaner.dedupe.buffer.size=33554432
"""


def server_properties(host: str, port: int, controller_port: int) -> str:
    """Return the text of `server.properties`; the storage is in `LOG_DIR`."""
    return _PROPERTIES.format(
        host=host, port=port, controller_port=controller_port, log_dir=LOG_DIR
    )
