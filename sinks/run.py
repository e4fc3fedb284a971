"""The process of `avila sink`."""

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import structlog

from schemas.avro.codec import Codec
from schemas.avro.files import history
from schemas.errors import Misconfigured
from schemas.registry.client import open_registry
from schemas.settings import SINK_PORT, Settings
from sinks.clickhouse import ClickHouseSink
from sinks.delivery import Delivery
from sinks.rejects import Rejects
from sinks.rows import EVENT
from sinks.source import SourceSettings
from sinks.telemetry import Metrics

log = structlog.get_logger(__name__)

_PROMETHEUS: Final = "text/plain; version=1.0.0; charset=utf-8"


def run_sink(settings: Settings) -> None:
    """Deliver the event store to ClickHouse until SIGTERM or SIGINT; call it in the main thread.

    Several processes share the partitions. It returns within five seconds of the signal as long as
    Kafka answers, whether ClickHouse does or not.

    Raises:
        Misconfigured: names the port, topic or credential to correct.
    """
    metrics = Metrics()
    with (
        _serve(settings.host, settings.port(SINK_PORT), metrics),
        contextlib.closing(open_registry(settings)) as registry,
    ):
        delivery = Delivery(
            SourceSettings(
                cluster=settings.cluster,
                topic=settings.topics.events.name,
                group=f"{settings.app_id}-sink-clickhouse",
                session_timeout_ms=settings.session_timeout_ms,
                missing_offsets=settings.missing_offsets,
            ),
            ClickHouseSink(settings),
            Codec(EVENT, registry.find, shipped=history("event")),
            Rejects(settings.cluster, settings.topics.rejected.name),
            metrics,
        )
        with _signals(delivery):
            log.info("sink started", topic=settings.topics.events.name)
            delivery.run()
            log.info("sink stopped")


@contextlib.contextmanager
def _signals(delivery: Delivery) -> Iterator[None]:
    """Stop the delivery on SIGTERM and SIGINT within the block."""
    before = {
        number: signal.signal(number, lambda *_: delivery.stop())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _serve(host: str, port: int, metrics: Metrics) -> Iterator[None]:
    """Serve /metrics and /healthz on one port within the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            pages: dict[str, Callable[[], bytes]] = {
                "/metrics": metrics.text,
                "/healthz": lambda: b"ok\n",
            }
            page = pages.get(self.path)
            self.send_response(200 if page else 404)
            self.send_header("Content-Type", _PROMETHEUS)
            self.end_headers()
            self.wfile.write(page() if page else b"the path must be /metrics or /healthz\n")

        def log_message(self, *_: Any) -> None:
            """Do not log requests."""

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    try:
        server = Server((host, port), Handler)
    except OSError as error:
        raise Misconfigured(
            f"the sink cannot listen on {host}:{port}: {error.strerror}; stop what does, or "
            "set another AVILA_PORT_BASE"
        ) from error
    with server:
        threading.Thread(target=server.serve_forever, name="sink-metrics", daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
