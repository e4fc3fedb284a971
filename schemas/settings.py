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

from schemas.errors import Misconfigured
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
    clickhouse_dsn: str = ""
    schema_registry_url: Secret = Secret()
    data_dir: Path = Path(".avila")
    host: str = "127.0.0.1"
    # Addresses and networks (192.0.2.1,10.0.0.0/8) whose X-Forwarded-For is trusted.
    trusted_proxies: str = ""
    # Which requests are logged: none, refused, all.
    access_log: str = "refused"
    port_base: int = 0

    # Kafka
    topic_prefix: str = "avila"
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
    clickhouse_user: str = "default"
    clickhouse_password: Secret = Secret()

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
        """The address of the broker: the configured one, or that of the embedded broker."""
        return self.kafka_bootstrap or self.local_address(BROKER_PORT)

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
}

PREFIX = "AVILA_"


def read_settings(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Read the settings from `environ` (by default the process's own); `overrides` have precedence.

    Raises:
        Misconfigured: a value is invalid or out of range, or a key is unknown; names the key.
    """
    environ = os.environ if environ is None else environ
    fields = {field.name: field for field in msgspec.structs.fields(Settings)}
    values: dict[str, Any] = {}
    for key, text in environ.items():
        if not key.startswith(PREFIX):
            continue
        name = key.removeprefix(PREFIX).lower()
        if name not in fields:
            known = ", ".join(sorted(PREFIX + field.upper() for field in fields))
            raise Misconfigured(f"{key} is not a setting; the settings are {known}")
        values[name] = _read(key, text, fields[name].type)
    settings = Settings(**values | overrides)
    for name, (least, most) in _RANGES.items():
        value = getattr(settings, name)
        if not least <= value <= most:
            key = PREFIX + name.upper()
            raise Misconfigured(f"{key} must be {least} to {most}, and is {value}")
    _check_data_dir(settings.data_dir)
    if settings.clickhouse_dsn and urlsplit(settings.clickhouse_dsn).scheme not in {
        "http",
        "https",
    }:
        raise Misconfigured(
            "AVILA_CLICKHOUSE_DSN must be an http:// or https:// address of ClickHouse's HTTP "
            "interface, such as http://user:password@host:8123/avila"
        )
    for url in filter(None, settings.schema_registry_url.split(",")):
        if urlsplit(url).scheme not in {"http", "https"}:
            raise Misconfigured(
                "AVILA_SCHEMA_REGISTRY_URL must be the http:// or https:// addresses of one schema "
                "registry, such as http://user:password@host:8081"
            )
    for network in filter(None, settings.trusted_proxies.split(",")):
        try:
            ip_network(network.strip())
        except ValueError as error:
            raise Misconfigured(
                f"AVILA_TRUSTED_PROXIES must be addresses and networks, such as "
                f"192.0.2.1,10.0.0.0/8: {error}"
            ) from None
    return settings


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
    if kind is Path:
        try:
            return Path(text).expanduser()
        except RuntimeError as error:
            raise Misconfigured(
                f"{key} is {text!r}: {error}; an absolute path is accepted"
            ) from None
    return kind(text)
