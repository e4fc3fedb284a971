"""The process of `avila sink`."""

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import structlog

from schemas.errors import Misconfigured
from schemas.idle_memory import return_memory_when_idle
from schemas.registry.client import open_registry
from schemas.settings import SINK_PORT, Settings
from sinks.deliveries import parts
from sinks.delivery import Delivery
from sinks.follow_store import follow_restored_store
from sinks.telemetry import Metrics

log = structlog.get_logger(__name__)

_PROMETHEUS: Final = "text/plain; version=1.0.0; charset=utf-8"


def run_sink(settings: Settings) -> None:
    """Deliver events and what is kept of results to ClickHouse until SIGTERM or SIGINT.

    Call it in the main thread.

    Several processes share the partitions. It returns within five seconds of the signal as long as
    Kafka answers, whether ClickHouse does or not.

    Raises:
        Misconfigured: names the port, topic or credential to correct.
    """
    delivered = parts(settings)
    with (
        _serve(settings.host, settings.port(SINK_PORT), [part.metrics for part in delivered]),
        contextlib.closing(open_registry(settings)) as registry,
    ):
        deliveries = [part.deliver(settings, registry) for part in delivered]
        follow_restored_store(settings, [part.group(settings) for part in delivered])
        return_memory_when_idle()
        with _signals(deliveries):
            log.info("sink started")
            _run_all(deliveries)
            log.info("sink stopped")


def _run_all(deliveries: Sequence[Delivery]) -> None:
    """Run each delivery in a thread until all have ended; one that fails stops the others.

    Raises:
        Exception: what the first to fail has raised.
    """
    with ThreadPoolExecutor(len(deliveries), "sink") as threads:
        running = [threads.submit(delivery.run) for delivery in deliveries]
        wait(running, return_when=FIRST_EXCEPTION)
        for delivery in deliveries:
            delivery.stop()
    failures = filter(None, (one.exception() for one in running))
    for failure in failures:
        raise failure


@contextlib.contextmanager
def _signals(deliveries: Sequence[Delivery]) -> Iterator[None]:
    """Stop the deliveries on SIGTERM and SIGINT within the block."""

    def stop(*_: object) -> None:
        for delivery in deliveries:
            delivery.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _serve(host: str, port: int, metrics: Sequence[Metrics]) -> Iterator[None]:
    """Serve /metrics and /healthz on one port within the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            pages: dict[str, Callable[[], bytes]] = {
                "/metrics": lambda: b"".join(one.text() for one in metrics),
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
