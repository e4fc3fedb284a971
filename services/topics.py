"""Creates the declared topics, and reports where an existing topic differs from its declaration."""

import socket
import time
from collections.abc import Iterable, Mapping
from typing import Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ClusterMetadata,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from schemas.bootstrap import parse_bootstrap
from schemas.cluster import Address, client_config
from schemas.errors import Misconfigured, Unavailable
from schemas.topics import Topic
from services.topic_config import (
    NOT_BY_DEFAULT,
    TopicState,
    corrections,
    differences,
    new_topic,
)

_CALL_TIMEOUT_S: Final = 10
_CONNECT_TIMEOUT_S: Final = 3.0
_RETRY_PAUSE_S: Final = 0.1
_REFUSALS: Final = {KafkaError._AUTHENTICATION, KafkaError._SSL}  # noqa: SLF001 (their public names)


def ensure_topics(
    cluster: Address,
    topics: Iterable[Topic],
    *,
    partitions: int,
    replication_factor: int,
    timeout_s: float = 30,
) -> list[str]:
    """Create the `topics` that are missing, and return the names of the created ones in order.

    Blocks up to about `timeout_s` while the broker is not ready. Existing topics get the
    configuration that keeps Kafka from deleting records early (`services.topic_config`). Afterwards
    every topic exists as declared and has a leader. Two processes may call it at once: only one of
    them returns a topic as created.

    Raises:
        Misconfigured: a topic differs from its declaration, or the broker refuses to create it or
            our credentials.
        Unavailable: the broker did not answer in time.
    """
    declared = {topic.name: topic for topic in topics}
    deadline = time.monotonic() + timeout_s
    admin = _Admin(cluster)
    created: list[str] = []
    while True:
        states = {
            state.name: state for state in _describe(admin, cluster, declared.values(), deadline)
        }
        missing = [topic for name, topic in declared.items() if name not in states]
        if not missing:
            break
        if time.monotonic() > deadline:
            names = ", ".join(topic.name for topic in missing)
            raise Unavailable(f"Kafka at {cluster} did not create in time: {names}")
        names_before = len(created)
        created += _create(
            admin, [t for t in missing if t.name not in created], partitions, replication_factor
        )
        if len(created) == names_before:
            time.sleep(_RETRY_PAUSE_S)
    mismatches = [
        text
        for topic in declared.values()
        for text in differences(topic, states[topic.name], partitions)
    ]
    if mismatches:
        raise Misconfigured("; ".join(mismatches))
    for topic in declared.values():
        if correction := corrections(topic, states[topic.name]):
            _correct(admin, topic.name, correction)
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


def require_brokers(cluster: Address, count: int, *, timeout_s: float) -> None:
    """Check that `count` brokers of the cluster have registered; blocks up to `timeout_s`.

    Raises:
        Unavailable: fewer have, or none answers.
    """
    try:
        registered = len(_Admin(cluster).metadata(timeout_s).brokers)
    except KafkaException as error:
        raise Unavailable(f"Kafka at {cluster} does not answer: {error.args[0].str()}") from error
    if registered < count:
        raise Unavailable(f"{registered} of the {count} brokers at {cluster} run")


def describe_topics(
    cluster: Address, topics: Iterable[Topic], *, timeout_s: float = 30
) -> list[TopicState]:
    """Return the state of those `topics` that exist; blocks up to about `timeout_s`.

    Raises:
        Unavailable: the broker did not answer in time.
    """
    return _describe(_Admin(cluster), cluster, topics, time.monotonic() + timeout_s)


class _Admin:
    """An admin client that knows why the cluster lets it in no further."""

    def __init__(self, cluster: Address) -> None:
        self._cluster = cluster
        self._refusal: KafkaError | None = None
        # The callers retry, so the library need not print failures to connect.
        own = {"log_level": 0, "error_cb": self._take}
        self.client = AdminClient(client_config(cluster, own))

    def metadata(self, timeout_s: float) -> ClusterMetadata:
        """Return what the cluster says of its brokers and topics.

        Raises:
            Misconfigured: the credentials or certificates are refused.
            KafkaException: there is no answer in time.
        """
        try:
            return self.client.list_topics(timeout=timeout_s)
        except KafkaException as error:
            self.client.poll(0)
            if self._refusal is not None:
                raise Misconfigured(
                    f"Kafka at {self._cluster} cannot be used with these credentials or "
                    f"certificates: {self._refusal.str()}; correct AVILA_KAFKA_SASL_… and "
                    "AVILA_KAFKA_SSL_…"
                ) from error
            raise

    def _take(self, error: KafkaError) -> None:
        if error.code() in _REFUSALS:
            self._refusal = error


def _describe(
    admin: _Admin, cluster: Address, topics: Iterable[Topic], deadline: float
) -> list[TopicState]:
    names = [topic.name for topic in topics]
    while True:
        try:
            left_s = deadline - time.monotonic()
            return _describe_once(admin, names, max(0.1, min(left_s, _CALL_TIMEOUT_S)))
        except KafkaException as error:
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"Kafka at {cluster} does not answer ({error.args[0].str()}): check "
                    "AVILA_KAFKA_BOOTSTRAP and that the broker runs"
                ) from error
        time.sleep(_RETRY_PAUSE_S)


def _describe_once(admin: _Admin, names: list[str], timeout_s: float) -> list[TopicState]:
    known = admin.metadata(timeout_s).topics
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
    answers = admin.client.describe_configs(wanted, request_timeout=_CALL_TIMEOUT_S)
    states = []
    for resource, answer in answers.items():
        config = answer.result()
        states.append(
            TopicState(
                resource.name,
                len(known[resource.name].partitions),
                config["cleanup.policy"].value,
                int(config["retention.ms"].value),
                int(config["max.message.bytes"].value),
                {name: config[name].value for name in NOT_BY_DEFAULT},
            )
        )
    return states


def _create(
    admin: _Admin, topics: list[Topic], partitions: int, replication_factor: int
) -> list[str]:
    """Ask the broker to create `topics`; return the created ones. The caller retries the rest."""
    if not topics:
        return []
    answers = admin.client.create_topics(
        [new_topic(topic, partitions, replication_factor) for topic in topics],
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


def _correct(admin: _Admin, name: str, config: Mapping[str, str]) -> None:
    """Set what keeps records from being deleted early, which earlier versions did not set."""
    entries = [
        ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
        for key, value in config.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
    (answer,) = admin.client.incremental_alter_configs(
        [resource], request_timeout=_CALL_TIMEOUT_S
    ).values()
    try:
        answer.result()
    except KafkaException as failure:
        text = ",".join(f"{key}={value}" for key, value in config.items())
        raise Misconfigured(
            f"topic {name} may lose records that were acknowledged, and Kafka refuses to alter it "
            f"({failure.args[0].str()}): have its administrator set {text}"
        ) from failure


def _may_pass(error: KafkaError) -> bool:
    # Codes below zero are the client's own: no connection, no answer in time.
    return error.code() < 0 or error.code() in {
        KafkaError.NOT_CONTROLLER,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.BROKER_NOT_AVAILABLE,
    }
