"""Creates the declared topics, and reports where an existing topic differs from its declaration."""

import socket
import time
from collections.abc import Iterable
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from schemas.bootstrap import parse_bootstrap
from schemas.errors import Misconfigured, Unavailable
from schemas.topics import Topic

_CALL_TIMEOUT_S: Final = 10
_CONNECT_TIMEOUT_S: Final = 3.0
_RETRY_PAUSE_S: Final = 0.1

# Every restore reads a compacted topic whole, and Kafka never compacts the newest segment: smaller
# segments that are cleaned earlier keep the topic close to one record a key.
_COMPACT: Final = {"segment.bytes": str(64 << 20), "min.cleanable.dirty.ratio": "0.2"}


class TopicState(NamedTuple):
    """A topic as the broker describes it."""

    name: str
    partitions: int
    cleanup: str
    retention_ms: int


def ensure_topics(
    bootstrap: str,
    topics: Iterable[Topic],
    *,
    partitions: int,
    replication_factor: int,
    timeout_s: float = 30,
) -> list[str]:
    """Create the `topics` that are missing, and return the names of the created ones in order.

    Blocks up to about `timeout_s` while the broker is not ready. Afterwards every topic exists as
    declared and has a leader. Two processes may call it at once: only one of them returns a topic
    as created.

    Raises:
        Misconfigured: a topic differs from its declaration, or the broker refuses to create it.
        Unavailable: the broker did not answer in time.
    """
    declared = {topic.name: topic for topic in topics}
    deadline = time.monotonic() + timeout_s
    admin = _connect(bootstrap)
    created: list[str] = []
    while True:
        states = {
            state.name: state for state in _describe(admin, bootstrap, declared.values(), deadline)
        }
        missing = [topic for name, topic in declared.items() if name not in states]
        if not missing:
            break
        if time.monotonic() > deadline:
            names = ", ".join(topic.name for topic in missing)
            raise Unavailable(f"Kafka at {bootstrap} did not create in time: {names}")
        names_before = len(created)
        created += _create(
            admin, [t for t in missing if t.name not in created], partitions, replication_factor
        )
        if len(created) == names_before:
            time.sleep(_RETRY_PAUSE_S)
    mismatches = [
        text
        for topic in declared.values()
        for text in _differences(topic, states[topic.name], partitions)
    ]
    if mismatches:
        raise Misconfigured("; ".join(mismatches))
    return [name for name in declared if name in created]


def require_broker(bootstrap: str) -> None:
    """Check that a server of the cluster accepts connections; blocks for a few seconds at most.

    Raises:
        Unavailable: none does; says how to start a system.
    """
    deadline = time.monotonic() + _CONNECT_TIMEOUT_S
    reasons = []
    for server in parse_bootstrap(bootstrap):
        try:
            left_s = max(0.1, deadline - time.monotonic())
            socket.create_connection((server.host, server.port), timeout=left_s).close()
        except OSError as error:
            reasons.append(error.strerror or str(error))
        else:
            return
    raise Unavailable(
        f"Kafka at {bootstrap} does not answer ({', '.join(dict.fromkeys(reasons))}): start the "
        "system with `avila up`, or correct AVILA_KAFKA_BOOTSTRAP or AVILA_PORT_BASE"
    )


def describe_topics(
    bootstrap: str, topics: Iterable[Topic], *, timeout_s: float = 30
) -> list[TopicState]:
    """Return the state of those `topics` that exist; blocks up to about `timeout_s`.

    Raises:
        Unavailable: the broker did not answer in time.
    """
    return _describe(_connect(bootstrap), bootstrap, topics, time.monotonic() + timeout_s)


def _connect(bootstrap: str) -> AdminClient:
    # The callers retry, so the library need not print failures to connect.
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})


def _describe(
    admin: AdminClient, bootstrap: str, topics: Iterable[Topic], deadline: float
) -> list[TopicState]:
    names = [topic.name for topic in topics]
    while True:
        try:
            left_s = deadline - time.monotonic()
            return _describe_once(admin, names, max(0.1, min(left_s, _CALL_TIMEOUT_S)))
        except KafkaException as error:
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"Kafka at {bootstrap} does not answer ({error.args[0].str()}): check "
                    "AVILA_KAFKA_BOOTSTRAP and that the broker runs"
                ) from error
        time.sleep(_RETRY_PAUSE_S)


def _describe_once(admin: AdminClient, names: list[str], timeout_s: float) -> list[TopicState]:
    known = admin.list_topics(timeout=timeout_s).topics
    ready = [
        name
        for name in names
        if name in known
        and not known[name].error
        and all(partition.leader >= 0 for partition in known[name].partitions.values())
    ]
    if not ready:
        return []
    wanted = [ConfigResource(ResourceType.TOPIC, name) for name in ready]
    answers = admin.describe_configs(wanted, request_timeout=_CALL_TIMEOUT_S)
    states = []
    for resource, answer in answers.items():
        config = answer.result()
        states.append(
            TopicState(
                resource.name,
                len(known[resource.name].partitions),
                config["cleanup.policy"].value,
                int(config["retention.ms"].value),
            )
        )
    return states


def _create(
    admin: AdminClient, topics: list[Topic], partitions: int, replication_factor: int
) -> list[str]:
    """Ask the broker to create `topics`; return the created ones. The caller retries the rest."""
    if not topics:
        return []
    answers = admin.create_topics(
        [_new_topic(topic, partitions, replication_factor) for topic in topics],
        operation_timeout=_CALL_TIMEOUT_S,
        request_timeout=_CALL_TIMEOUT_S,
    )
    created = []
    for name, answer in answers.items():
        try:
            answer.result()
            created.append(name)
        except KafkaException as failure:
            error: KafkaError = failure.args[0]
            if error.code() == KafkaError.TOPIC_ALREADY_EXISTS or _may_pass(error):
                continue
            raise Misconfigured(
                f"Kafka refuses to create topic {name}: {error.str()}; create it by hand, or "
                "change AVILA_PARTITIONS, AVILA_REPLICATION_FACTOR or AVILA_TOPIC_PREFIX"
            ) from failure
    return created


def _may_pass(error: KafkaError) -> bool:
    # Codes below zero are the client's own: no connection, no answer in time.
    return error.code() < 0 or error.code() in {
        KafkaError.NOT_CONTROLLER,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.BROKER_NOT_AVAILABLE,
    }


def _new_topic(topic: Topic, partitions: int, replication_factor: int) -> NewTopic:
    config = {
        "cleanup.policy": topic.cleanup,
        # With three replicas, acks=all means that two have the record, and one broker may be down.
        "min.insync.replicas": str(max(1, replication_factor - 1)),
    }
    if topic.cleanup == "delete":
        config["retention.ms"] = str(topic.retention_ms)
    else:
        config |= _COMPACT
    return NewTopic(
        topic.name,
        num_partitions=topic.partitions or partitions,
        replication_factor=replication_factor,
        config=config,
    )


def _differences(topic: Topic, state: TopicState, partitions: int) -> list[str]:
    declared = topic.partitions or partitions
    found = []
    if state.partitions != declared:
        remedy = (
            "recreate it"
            if topic.partitions
            else f"set AVILA_PARTITIONS={state.partitions} or another AVILA_TOPIC_PREFIX"
        )
        found.append(
            f"topic {topic.name} has {state.partitions} partitions, {declared} are declared: "
            f"{remedy}"
        )
    if state.cleanup != topic.cleanup:
        found.append(
            f"topic {topic.name} has cleanup.policy={state.cleanup}, {topic.cleanup} is declared: "
            "alter its configuration"
        )
    elif topic.cleanup == "delete" and state.retention_ms != topic.retention_ms:
        found.append(
            f"topic {topic.name} has retention.ms={state.retention_ms}, "
            f"{topic.retention_ms} is declared: alter its configuration"
        )
    return found
