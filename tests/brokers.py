"""Clusters that tests start for themselves: one with credentials, and one of three brokers."""

import contextlib
import datetime
import ipaddress
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from schemas.cluster import Cluster, client_config
from services.broker import Broker
from tests.ports import free_ports

USER, PASSWORD = "avila", "a b=c;d\"e'f\\g"
_ADMIN_PASSWORD = "of the administrator"


def issue_certificate(directory: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate of 127.0.0.1 into a file, and into one with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "of the tests")])
    now = datetime.datetime.now(datetime.UTC)
    host = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([host]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    public = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    authority, server = directory / "ca.pem", directory / "server.pem"
    authority.write_bytes(public)
    server.write_bytes(private + public)
    return authority, server


@contextlib.contextmanager
def secured_broker(directory: Path) -> Iterator[Broker]:
    """A broker that speaks SASL_SSL alone; `USER` has a SCRAM password there."""
    authority, server = issue_certificate(directory)
    port, controller_port = free_ports(2)
    tls = {"security.protocol": "SASL_SSL", "ssl.ca.location": str(authority)}
    administrator = tls | {
        "sasl.mechanism": "PLAIN",
        "sasl.username": "admin",
        "sasl.password": _ADMIN_PASSWORD,
    }
    broker = Broker.start(
        directory / "kafka",
        "127.0.0.1",
        port,
        controller_port,
        log_file=directory / "kafka.log",
        server=_secured(port, controller_port, server, authority),
        client=administrator,
    )
    try:
        _create_user(broker.cluster)
        broker.cluster = Cluster(
            broker.bootstrap,
            tls
            | {
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": USER,
                "sasl.password": PASSWORD,
            },
        )
        yield broker
    finally:
        broker.stop()


def _secured(port: int, controller_port: int, server: Path, authority: Path) -> dict[str, str]:
    login = "org.apache.kafka.common.security.{}LoginModule required"
    admin = f'username="admin" password="{_ADMIN_PASSWORD}" user_admin="{_ADMIN_PASSWORD}"'
    return {
        "listeners": f"SASL_SSL://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"SASL_SSL://127.0.0.1:{port}",
        "listener.security.protocol.map": "SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "SASL_SSL",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": f"{login.format('plain.Plain')} {admin};",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": login.format("scram.Scram") + ";",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(server),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority),
    }


def _create_user(cluster: Cluster | str) -> None:
    admin = AdminClient(client_config(cluster, {}))
    credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4_096)
    upsertion = UserScramCredentialUpsertion(USER, credential, PASSWORD.encode())
    for answer in admin.alter_user_scram_credentials([upsertion]).values():
        answer.result(timeout=30)


class ThreeBrokers:
    """A cluster of three brokers; `kill` and `start` one of them by its number, from 1 on."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ports, self._controller_ports = free_ports(3), free_ports(3)
        self._running: dict[int, Broker] = {}

    @property
    def bootstrap(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self._ports)

    @property
    def any(self) -> Broker:
        """One that runs."""
        return next(iter(self._running.values()))

    def __enter__(self) -> Self:
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(self.start, (1, 2, 3)))
        return self

    def __exit__(self, *_: object) -> None:
        for number in list(self._running):
            self.kill(number)

    def start(self, number: int) -> None:
        """Start a broker; return when it answers."""
        self._running[number] = Broker.start(
            self._directory / "kafka" / str(number),
            "127.0.0.1",
            self._ports[number - 1],
            self._controller_ports[number - 1],
            log_file=self._directory / f"kafka-{number}.log",
            heap_mb=320,
            number=number,
            controller_ports=self._controller_ports,
        )

    def kill(self, number: int) -> None:
        """SIGKILL."""
        self._running.pop(number).kill()

    def leader(self, topic: str, partition: int) -> int:
        """The number of the broker that leads a partition; 0 if none does."""
        found = AdminClient({"bootstrap.servers": self.bootstrap}).list_topics(topic, 30)
        return max(found.topics[topic].partitions[partition].leader, 0)
