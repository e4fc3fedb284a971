"""The properties of librdkafka that users set for every Kafka client, such as credentials."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas.bootstrap import parse_bootstrap
from schemas.errors import Misconfigured
from schemas.properties_file import read_properties_file

PREFIX: Final = "AVILA_KAFKA_"
FILE_KEY: Final = "AVILA_KAFKA_PROPERTIES_FILE"
_PROTOCOL: Final = "security.protocol"
_BOOTSTRAP: Final = "AVILA_KAFKA_BOOTSTRAP"

# Exactly-once delivery, the order of records and the names of members depend on them.
_OURS: Final = frozenset(
    [
        "acks",
        "request.required.acks",
        "enable.idempotence",
        "enable.gapless.guarantee",
        "transactional.id",
        "transaction.timeout.ms",
        "max.in.flight",
        "max.in.flight.requests.per.connection",
        "retries",
        "message.send.max.retries",
        "message.timeout.ms",
        "delivery.timeout.ms",
        "partitioner",
        "queuing.strategy",
        "group.id",
        "group.instance.id",
        "group.protocol",
        "group.protocol.type",
        "group.remote.assignor",
        "client.id",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "auto.commit.enable",
        "auto.commit.interval.ms",
        "auto.offset.reset",
        "isolation.level",
        "enable.partition.eof",
        "partition.assignment.strategy",
        "heartbeat.interval.ms",
        "max.poll.interval.ms",
        "message.max.bytes",
        "batch.num.messages",
        "batch.size",
        "queue.buffering.max.messages",
        "queue.buffering.max.kbytes",
        "fetch.min.bytes",
        "log_level",
        "allow.auto.create.topics",
        "delivery.report.only.error",
        "test.mock.num.brokers",
    ]
)
_ELSEWHERE: Final = {
    "bootstrap.servers": f"set {_BOOTSTRAP} instead",
    "metadata.broker.list": f"set {_BOOTSTRAP} instead",
    "session.timeout.ms": "set AVILA_SESSION_TIMEOUT_MS instead",
    "ssl.truststore.location": "librdkafka reads PEM files: set ssl.ca.location to one, or "
    "ssl.truststore.type=PEM if this is one",
    "ssl.truststore.password": "librdkafka reads PEM files: set ssl.ca.location to one",
    "ssl.truststore.certificates": "set ssl.ca.pem instead",
}


class KafkaProperties(dict[str, str]):
    """Properties by their names; `repr` shows the names alone."""

    def __repr__(self) -> str:
        return f"KafkaProperties({', '.join(sorted(self))})"


def read_kafka(
    variables: Mapping[str, str], file: Path | None, bootstrap: str
) -> tuple[str, KafkaProperties]:
    """Return the bootstrap address, and the properties in `file` and `variables`.

    `AVILA_KAFKA_SASL_USERNAME` is `sasl.username`; variables take precedence over the file. The
    file may be one of Java's: the user and password of its `sasl.jaas.config` and a trust store in
    PEM are translated, and its `bootstrap.servers` is the address if `bootstrap` is empty. Without
    a `security.protocol`, that of the addresses applies. Relative paths are made absolute.

    Raises:
        Misconfigured: the file cannot be read, or a property is unknown, wrong or not the user's
            to set; names it as it was given.
    """
    given: dict[str, tuple[str, str]] = {}  # name: how the user wrote it, value
    if file is not None:
        found = read_properties_file(file)
        in_file = found.pop("bootstrap.servers", "")
        bootstrap = bootstrap or in_file
        given |= {name: (f"{name} in {file}", value) for name, value in found.items()}
    for key, value in variables.items():
        given[key.removeprefix(PREFIX).lower().replace("_", ".")] = key, value
    properties = KafkaProperties()
    for name, (written, value) in given.items():
        if name in _OURS:
            raise Misconfigured(f"{written} cannot be set: Avila sets {name} to keep its promises")
        if name in _ELSEWHERE:
            raise Misconfigured(f"{written} cannot be set: {_ELSEWHERE[name]}")
        properties[name] = _absolute(name, value, written)
        if name != _PROTOCOL:
            # Certificates, keys and credentials are only complete together.
            _check({name: properties[name], _PROTOCOL: "plaintext"}, written)
    _check_protocol(properties, bootstrap)
    if properties:
        _check(properties, f"{PREFIX}… together")
    return bootstrap, properties


def kafka_variables(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables from which another process reads the same properties."""
    return {PREFIX + name.upper().replace(".", "_"): text for name, text in properties.items()}


def _check(properties: Mapping[str, str], written: str) -> None:
    """Let librdkafka judge the properties; nothing is connected."""
    try:
        AdminClient({**properties, "log_level": 0})
    except (KafkaException, TypeError, ValueError) as error:
        reason = error.args[0].str() if isinstance(error, KafkaException) else str(error)
        reason = reason.removeprefix("Failed to create admin client: ")
        raise Misconfigured(f"librdkafka does not accept {written}: {reason}") from None


def _check_protocol(properties: dict[str, str], bootstrap: str) -> None:
    if not bootstrap:
        if secured := [name for name in properties if re.match(r"s(asl|ecurity|sl)\.", name)]:
            raise Misconfigured(
                f"{_BOOTSTRAP} is missing: {', '.join(secured)} are for a Kafka of your own, "
                "and the embedded broker needs none"
            )
        return
    protocol = parse_bootstrap(bootstrap)[0].protocol
    chosen = properties.get(_PROTOCOL, protocol or "plaintext").upper()
    if protocol not in {"", chosen}:
        raise Misconfigured(
            f"{_BOOTSTRAP} has addresses of {protocol}, and {_PROTOCOL} is {chosen}: set both to "
            "the same protocol"
        )
    if chosen in {"SASL_SSL", "SASL_PLAINTEXT"} and not properties.keys() & {
        "sasl.mechanism",
        "sasl.mechanisms",
    }:
        raise Misconfigured(
            f"AVILA_KAFKA_SASL_MECHANISM is missing, which {chosen} needs; accepted are PLAIN, "
            "SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER"
        )
    if protocol:
        properties[_PROTOCOL] = chosen


def _absolute(name: str, value: str, written: str) -> str:
    """Return the value; of a file, its absolute path, as parts run in another directory."""
    if not name.endswith(".location") or value in {"", "probe"}:
        return value
    path = Path(value).expanduser().absolute()
    if not os.access(path, os.R_OK):
        raise Misconfigured(f"{written} is {value!r}, which cannot be read")
    return str(path)
