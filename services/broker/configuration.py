"""The broker's configuration: what differs from Kafka's defaults, and why.

Files and directories are relative to the broker's working directory, since Kafka and Log4j split
paths at commas and take other characters for escapes.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from schemas.settings import host_and_port

LOG_DIR: Final = "log"

_PROPERTIES: Final = """\
process.roles=broker,controller
node.id={number}
listeners=PLAINTEXT://{address},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://{address}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters={voters}
log.dirs={log_dir}

# Every node has everything, in few partitions; one of three may be down.
offsets.topic.replication.factor={brokers}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={brokers}
transaction.state.log.min.isr={min_isr}
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor={brokers}
share.coordinator.state.topic.min.isr={min_isr}
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
{sessions}
# For a small machine, as each idle thread wakes several times a second.
num.network.threads=2
num.io.threads=4
background.threads=1
group.coordinator.threads=1
share.coordinator.threads=1
num.recovery.threads.per.data.dir=2
log.cleaner.dedupe.buffer.size=33554432
"""
_SINGLE: Final = """\
# A single node has nothing to fail over to: on a busy machine it must neither declare itself dead
# nor give up its start. After a kill, however, it registers only when its last session has expired.
# That must happen before the open transactions time out: until then their coordinator has no leader
# to send the end markers to, concludes that all partitions were deleted, and leaves them open for
# ever. See `EpochSettings.transaction_timeout_ms`.
broker.session.timeout.ms=18000
initial.broker.registration.timeout.ms=300000
# By default the controller writes a no-op record twice a second.
metadata.max.idle.interval.ms=0
"""
# Others take over from a dead broker as soon as its session has expired.
_SEVERAL: Final = """\
broker.session.timeout.ms=6000
initial.broker.registration.timeout.ms=300000
"""


class Node(NamedTuple):
    """One broker of a cluster, counted from 1, and the ports of all nodes' controllers."""

    host: str
    port: int
    controller_ports: tuple[int, ...]
    number: int = 1

    @property
    def controller_port(self) -> int:
        """Return the port of this node's own controller."""
        return self.controller_ports[self.number - 1]

    @property
    def address(self) -> str:
        """Return where this node's clients connect."""
        return host_and_port(self.host, self.port)


def server_properties(node: Node, more: Mapping[str, str]) -> str:
    """Return the text of `server.properties`; the storage is in `LOG_DIR`.

    `more` are added, and take precedence.
    """
    brokers = len(node.controller_ports)
    voters = (f"{n}@127.0.0.1:{port}" for n, port in enumerate(node.controller_ports, 1))
    text = _PROPERTIES.format(
        number=node.number,
        address=node.address,
        controller_port=node.controller_port,
        voters=",".join(voters),
        log_dir=LOG_DIR,
        brokers=brokers,
        min_isr=max(1, brokers - 1),
        sessions=_SINGLE if brokers == 1 else _SEVERAL,
    )
    return text + "".join(f"{name}={value}\n" for name, value in more.items())
