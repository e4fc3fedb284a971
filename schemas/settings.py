"""The settings of a deployment, read from the environment once, when a process starts.

Names include their units. An invalid value is refused with its key and what is accepted. `repr`
hides secrets, so settings can be logged.
"""

import os
import socket
import unicodedata
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

import msgspec

from schemas.bootstrap import parse_bootstrap
from schemas.clickhouse_dsn import parse_dsn
from schemas.cluster import Cluster
from schemas.errors import Misconfigured
from schemas.kafka_properties import PREFIX as KAFKA_PREFIX
from schemas.kafka_properties import KafkaProperties, read_kafka
from schemas.oidc import OidcProvider, read_oidc
from schemas.service_links import is_service_link
from schemas.topics import Topics


class Secret(str):
    """A string whose `repr` is `***`; `str.__str__` returns the text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'" if self else "''"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a deployment, each read from `AVILA_<FIELD IN CAPITALS>`."""

    # Addresses and directories. An empty address means the embedded service on this machine.
    kafka_bootstrap: str = ""
    # Each property of librdkafka has a variable: AVILA_KAFKA_SECURITY_PROTOCOL is its
    # `security.protocol`. They are the whole of what AVILA_KAFKA_PROPERTIES_FILE has, too.
    kafka_properties_file: Path | None = None
    kafka_properties: KafkaProperties = KafkaProperties()
    clickhouse_dsn: Secret = Secret()
    clickhouse_ca_file: Path | None = None
    schema_registry_url: Secret = Secret()
    schema_registry_ca_file: Path | None = None
    data_dir: Path = Path(".avila")
    host: str = "127.0.0.1"
    # Addresses and networks (192.0.2.1,10.0.0.0/8) whose X-Forwarded-For is trusted.
    trusted_proxies: str = ""
    # Which requests are logged: none, refused, all.
    access_log: str = "refused"
    port_base: int = 0

    # Kafka
    # How many brokers the embedded Kafka has: with three, every record survives the loss of one.
    brokers: int = 1
    topic_prefix: str = "avila"
    # The secret by which records name persons who must not be recognized, the same in all processes
    # of a deployment; with embedded brokers, one is kept in the data directory.
    person_key: Secret = Secret()
    partitions: int = 4
    replication_factor: int = 1

    # The worker
    app_id: str = "avila"
    worker_id: str = ""
    epoch_max_records: int = 40_000
    commit_interval_ms: int = 200
    # How long changed rows wait to be logged: after a crash, later events are processed again.
    checkpoint_interval_ms: int = 30_000
    snapshot_interval_s: int = 300
    session_timeout_ms: int = 10_000
    # Where to continue if Kafka has forgotten the offsets and nothing else knows them: refuse to
    # start, or count from the beginning, or from the end.
    missing_offsets: Literal["refuse", "beginning", "end"] = "refuse"

    # Which events are accepted, and which are duplicates
    dedup_window_s: int = 86_400
    # Of a worker, shared fairly between projects; ids that find no room are forgotten early.
    dedup_memory_mb: int = 256
    allowed_lateness_s: int = 3_600
    max_future_skew_s: int = 300
    # How old an event may be when it comes over REST, WebSocket or gRPC. Imports are not bounded.
    max_event_age_days: int = 730
    # A device's clock that is off by more is corrected.
    clock_tolerance_s: int = 60
    max_event_bytes: int = 262_144

    # ClickHouse
    clickhouse_database: str = "avila"
    # How long the store keeps what results were over time; 0 keeps nothing.
    result_history_days: int = 90
    # The cluster, as ClickHouse calls it, on all of whose servers the tables are made.
    clickhouse_cluster: str = ""
    clickhouse_user: str = "default"
    clickhouse_password: Secret = Secret()

    # The notifier: webhooks, e-mail and alerts
    # The secret from which signing secrets of webhooks are derived, the same in all processes of a
    # deployment; with embedded brokers, one is kept in the data directory.
    webhook_key: Secret = Secret()
    # Private addresses and networks (10.1.0.0/16) that webhooks may be sent to; public ones always.
    webhook_networks: str = ""
    # smtp://user:password@host:587 (with STARTTLS where the server has it) or smtps://…
    smtp_url: Secret = Secret()
    smtp_from: str = ""
    # Topics of other owners that subscriptions may write to, separated by commas.
    notice_topics: str = ""
    # Of the query service that alerts ask; unset: that of this machine, and its token.
    query_url: str = ""
    query_token: Secret = Secret()

    # An identity provider (OpenID Connect) at which people sign in to the page; see `schemas.oidc`.
    oidc_issuer: str = ""
    oidc_client_id: str = ""
    oidc_client_secret: Secret = Secret()
    # The address of the page as browsers know it; the provider sends them back to
    # `/session/callback` there.
    oidc_page_url: str = ""
    oidc_scopes: str = "openid profile email"
    oidc_name: str = ""
    # The claim that says what somebody may do, and what each of its values grants, as JSON.
    oidc_claim: str = "groups"
    oidc_roles: str = ""

    def port(self, default: int) -> int:
        """Return the port of the service whose default port is `default`.

        `port_base` is the first of a consecutive range: with 20000, REST ingest (8000) listens on
        20000, and the others follow in a fixed order.
        """
        return default if not self.port_base else self.port_base + _PORTS.index(default)

    @property
    def local_host(self) -> str:
        """Return the host by which processes of this machine reach what listens on `host`."""
        return _LOOPBACKS.get(self.host, self.host)

    def local_address(self, default: int) -> str:
        """Return the `host:port` by which processes of this machine reach a service; see `port`."""
        return host_and_port(self.local_host, self.port(default))

    @property
    def topics(self) -> Topics:
        """Return the deployment's topics."""
        return Topics(self.topic_prefix)

    @property
    def bootstrap(self) -> str:
        """The address of Kafka: the configured one, or that of the embedded brokers."""
        return self.kafka_bootstrap or ",".join(
            self.local_address(port) for port in BROKER_PORTS[: self.brokers]
        )

    @property
    def cluster(self) -> Cluster:
        """The Kafka cluster: the `bootstrap` address, and the properties to connect with."""
        return Cluster(self.bootstrap, self.kafka_properties)

    @property
    def oidc(self) -> OidcProvider | None:
        """The identity provider; None if there is none. Raises `Misconfigured`."""
        return read_oidc(
            issuer=self.oidc_issuer,
            client_id=self.oidc_client_id,
            client_secret=self.oidc_client_secret,
            page_url=self.oidc_page_url,
            scopes=self.oidc_scopes,
            name=self.oidc_name,
            claim=self.oidc_claim,
            roles=self.oidc_roles,
        )

    @property
    def worker_name(self) -> str:
        """The worker's name in its transactional ids: unique, and the same after a restart."""
        return self.worker_id or f"{socket.gethostname()}-{self.port(BROKER_PORT)}"

    @property
    def snapshot_dir(self) -> Path:
        """The directory of this worker's snapshots."""
        return self.data_dir / "snapshots" / self.app_id / self.worker_name


INGEST_PORT = 8000
QUERY_PORT = 8080
REGISTRY_PORT = 8081
STORE_PORT = 8123
GRPC_PORT = 50051
BROKER_PORT = 9092
CONTROLLER_PORT = 9093
WORKER_PORT = 8090
SINK_PORT = 8091
QUERY_GRPC_PORT = 50052
NOTIFIER_PORT = 8092
# Of the embedded brokers, and of the controller of each.
BROKER_PORTS = (BROKER_PORT, 9094, 9096)
CONTROLLER_PORTS = (CONTROLLER_PORT, 9095, 9097)
_PORTS = (
    INGEST_PORT,
    QUERY_PORT,
    REGISTRY_PORT,
    STORE_PORT,
    GRPC_PORT,
    BROKER_PORT,
    CONTROLLER_PORT,
    WORKER_PORT,
    SINK_PORT,
    QUERY_GRPC_PORT,
    *BROKER_PORTS[1:],
    *CONTROLLER_PORTS[1:],
    NOTIFIER_PORT,
)
PORTS_PER_SYSTEM = len(_PORTS)
# The addresses that mean every interface of the machine, and the loopback address of the same kind.
_LOOPBACKS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (nothing is bound)


def host_and_port(host: str, port: int) -> str:
    """Return `host:port`, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# The least and the greatest value that is accepted.
_RANGES: dict[str, tuple[int, int]] = {
    "port_base": (0, 65_000),
    "brokers": (1, 3),
    "partitions": (1, 1_024),
    "replication_factor": (1, 16),
    "epoch_max_records": (1, 1_000_000),
    "commit_interval_ms": (1, 60_000),
    "checkpoint_interval_ms": (0, 3_600_000),
    "snapshot_interval_s": (1, 86_400),
    "session_timeout_ms": (6_000, 300_000),
    "dedup_window_s": (1, 31 * 86_400),
    "dedup_memory_mb": (1, 1_000_000),
    "allowed_lateness_s": (0, 31 * 86_400),
    "max_future_skew_s": (0, 86_400),
    # The Tracker takes no event from before 2000.
    "max_event_age_days": (1, 9_000),
    "clock_tolerance_s": (1, 86_400),
    "max_event_bytes": (1_024, 900_000),
    "result_history_days": (0, 36_500),
}

PREFIX = "AVILA_"
MIN_PERSON_KEY_CHARS = 16


def read_settings(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Read the settings from `environ` (by default the process's own); `overrides` have precedence.

    Raises:
        Misconfigured: a value is invalid or out of range, or a key is unknown; names the key.
    """
    environ = os.environ if environ is None else environ
    fields = {field.name: field for field in msgspec.structs.fields(Settings)}
    del fields["kafka_properties"]
    values: dict[str, Any] = {}
    kafka: dict[str, str] = {}
    for key, text in environ.items():
        if not key.startswith(PREFIX):
            continue
        name = key.removeprefix(PREFIX).lower()
        if name in fields:
            values[name] = _read(key, text, fields[name].type)
        elif is_service_link(key, text):
            continue
        elif key.startswith(KAFKA_PREFIX):
            kafka[key] = text
        else:
            known = ", ".join(sorted(PREFIX + field.upper() for field in fields))
            raise Misconfigured(f"{key} is not a setting; the settings are {known}")
    values |= overrides
    if "kafka_properties" not in overrides:
        values["kafka_bootstrap"], values["kafka_properties"] = read_kafka(
            kafka, values.get("kafka_properties_file"), values.get("kafka_bootstrap", "")
        )
    if servers := values.get("kafka_bootstrap"):
        values["kafka_bootstrap"] = ",".join(part.strip() for part in servers.split(","))
    if dsn := values.get("clickhouse_dsn"):
        named = parse_dsn(dsn).database
        if named and values.setdefault("clickhouse_database", named) != named:
            raise Misconfigured(
                f"AVILA_CLICKHOUSE_DSN names the database {named!r}, and "
                f"AVILA_CLICKHOUSE_DATABASE {values['clickhouse_database']!r}: set only one"
            )
    if not values.get("kafka_bootstrap"):
        values.setdefault("replication_factor", values.get("brokers", 1))
    settings = Settings(**values)
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    for name, (least, most) in _RANGES.items():
        value = getattr(settings, name)
        if not least <= value <= most:
            key = PREFIX + name.upper()
            raise Misconfigured(f"{key} must be {least} to {most}, and is {value}")
    _check_data_dir(settings.data_dir)
    if 0 < len(settings.person_key) < MIN_PERSON_KEY_CHARS:
        raise Misconfigured(
            f"AVILA_PERSON_KEY must have {MIN_PERSON_KEY_CHARS} characters or more, drawn at random"
        )
    if settings.brokers == 2:
        raise Misconfigured("AVILA_BROKERS must be 1 or 3: of two, none may be down")
    if settings.clickhouse_cluster and not settings.clickhouse_dsn:
        raise Misconfigured(
            "AVILA_CLICKHOUSE_CLUSTER needs AVILA_CLICKHOUSE_DSN: the embedded store is one server"
        )
    if settings.kafka_bootstrap:
        parse_bootstrap(settings.kafka_bootstrap)
    for name in ("clickhouse_ca_file", "schema_registry_ca_file"):
        file: Path | None = getattr(settings, name)
        if file is not None and not os.access(file, os.R_OK):
            raise Misconfigured(f"{PREFIX}{name.upper()} is {str(file)!r}, which cannot be read")
    for url in filter(None, settings.schema_registry_url.split(",")):
        if urlsplit(url).scheme not in {"http", "https"}:
            raise Misconfigured(
                "AVILA_SCHEMA_REGISTRY_URL must be the http:// or https:// addresses of one schema "
                "registry, such as http://user:password@host:8081"
            )
    for name in ("trusted_proxies", "webhook_networks"):
        for network in filter(None, getattr(settings, name).split(",")):
            try:
                ip_network(network.strip())
            except ValueError as error:
                raise Misconfigured(
                    f"{PREFIX}{name.upper()} must be addresses and networks, such as "
                    f"192.0.2.1,10.0.0.0/8: {error}"
                ) from None
    _check_notifier(settings)
    _ = settings.oidc  # raises for what is not accepted


def _check_notifier(settings: Settings) -> None:
    if 0 < len(settings.webhook_key) < MIN_PERSON_KEY_CHARS:
        raise Misconfigured(
            f"AVILA_WEBHOOK_KEY must have {MIN_PERSON_KEY_CHARS} characters or more, drawn at "
            "random"
        )
    if settings.smtp_url:
        parts = urlsplit(settings.smtp_url)
        if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
            raise Misconfigured(
                "AVILA_SMTP_URL must be the address of a mail server, such as "
                "smtp://user:password@mail.example:587"
            )
        if "@" not in settings.smtp_from:
            raise Misconfigured(
                "AVILA_SMTP_FROM must be the address that e-mail comes from, such as "
                "avila@shop.example"
            )
    if settings.query_url and urlsplit(settings.query_url).scheme not in {"http", "https"}:
        raise Misconfigured(
            "AVILA_QUERY_URL must be the http:// or https:// address of a query service"
        )
    for topic in filter(None, settings.notice_topics.split(",")):
        if topic.strip().startswith(f"{settings.topic_prefix}.") or topic.strip() == "_schemas":
            raise Misconfigured(
                f"AVILA_NOTICE_TOPICS names {topic.strip()}, which is a topic of Avila's own"
            )


def _check_data_dir(path: Path) -> None:
    # The store's engine takes a question mark for the end of its path, and would use another one.
    text = str(path.absolute())
    if "?" in text or any(unicodedata.category(letter) in {"Cc", "Cs"} for letter in text):
        raise Misconfigured(
            f"AVILA_DATA_DIR is {text!r}; accepted is a path in UTF-8 without question marks and "
            "control characters"
        )


def _read(key: str, text: str, kind: Any) -> Any:
    if kind is int:
        try:
            return int(text.replace("_", ""))
        except ValueError:
            raise Misconfigured(f"{key} must be a whole number, and is {text!r}") from None
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise Misconfigured(f"{key} is {text!r}; accepted are {', '.join(get_args(kind))}")
        return text
    if kind == Path | None and not text:
        return None
    if kind in (Path, Path | None):
        try:
            return Path(text).expanduser()
        except RuntimeError as error:
            raise Misconfigured(
                f"{key} is {text!r}: {error}; an absolute path is accepted"
            ) from None
    return kind(text)
