"""The process of `avila sink`."""

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import structlog

from schemas.avro.codec import Codec
from schemas.avro.files import history
from schemas.errors import Misconfigured
from schemas.operators.prediction import PREDICTION
from schemas.operators.segment import SEGMENT
from schemas.registry.client import SchemaRegistry, open_registry
from schemas.settings import SINK_PORT, Settings
from sinks.clickhouse import ClickHouseSink
from sinks.definitions import DefinitionsSink, decode_definitions
from sinks.delivery import Delivery
from sinks.follow_store import follow_restored_store
from sinks.member_rows import CHANGE, decode_members
from sinks.members import MembersSink
from sinks.predictions import PredictionsSink
from sinks.rejects import Rejects
from sinks.resume import resuming
from sinks.rows import EVENT, decode
from sinks.score_rows import SCORE, decode_scores
from sinks.source import SourceSettings
from sinks.telemetry import Metrics

log = structlog.get_logger(__name__)

# Of consumers, by what their names end in: of events, of scores, of segments and of definitions.
_GROUPS: Final = ("clickhouse", "predictions", "segments", "definitions")
_PROMETHEUS: Final = "text/plain; version=1.0.0; charset=utf-8"


def run_sink(settings: Settings) -> None:
    """Deliver events, scores, segments and definitions to ClickHouse until SIGTERM or SIGINT.

    Call it in the main thread.

    Several processes share the partitions. It returns within five seconds of the signal as long as
    Kafka answers, whether ClickHouse does or not.

    Raises:
        Misconfigured: names the port, topic or credential to correct.
    """
    metrics = [
        Metrics(),
        *(Metrics(f"avila_sink_{name}") for name in ("predictions", "segments", "definitions")),
    ]
    with (
        _serve(settings.host, settings.port(SINK_PORT), metrics),
        contextlib.closing(open_registry(settings)) as registry,
    ):
        deliveries = [
            make(settings, registry, own)
            for make, own in zip(
                (_of_events, _of_scores, _of_members, _of_definitions), metrics, strict=True
            )
        ]
        follow_restored_store(settings, [f"{settings.app_id}-sink-{one}" for one in _GROUPS])
        with _signals(deliveries):
            log.info("sink started")
            _run_all(deliveries)
            log.info("sink stopped")


def _of_events(settings: Settings, registry: SchemaRegistry, metrics: Metrics) -> Delivery:
    source = _source(settings, settings.topics.events.name, _GROUPS[0])
    sink = ClickHouseSink(settings)
    codec = Codec(EVENT, registry.find, shipped=history("event"))
    rejects = Rejects(settings.cluster, settings.topics.rejected.name)
    begin = resuming(source, sink, codec)
    return Delivery(source, sink, partial(decode, codec), begin, rejects, metrics)


def _of_scores(settings: Settings, registry: SchemaRegistry, metrics: Metrics) -> Delivery:
    topic = PREDICTION.changes[0].topic(settings.topics).name
    source = _source(settings, topic, _GROUPS[1])
    sink = PredictionsSink(settings)
    codec = Codec(SCORE, registry.find, shipped=history("prediction-score"))
    rejects = Rejects(settings.cluster, settings.topics.rejected.name)
    return Delivery(source, sink, partial(decode_scores, codec), sink.begin, rejects, metrics)


def _of_members(settings: Settings, registry: SchemaRegistry, metrics: Metrics) -> Delivery:
    topic = SEGMENT.changes[0].topic(settings.topics).name
    source = _source(settings, topic, _GROUPS[2])
    sink = MembersSink(settings)
    codec = Codec(CHANGE, registry.find, shipped=history("segment-change"))
    rejects = Rejects(settings.cluster, settings.topics.rejected.name)
    return Delivery(source, sink, partial(decode_members, codec), sink.begin, rejects, metrics)


def _of_definitions(settings: Settings, _: SchemaRegistry, metrics: Metrics) -> Delivery:
    source = _source(settings, settings.topics.definitions.name, _GROUPS[3])
    sink = DefinitionsSink(settings)
    rejects = Rejects(settings.cluster, settings.topics.rejected.name)
    return Delivery(source, sink, decode_definitions, sink.begin, rejects, metrics)


def _source(settings: Settings, topic: str, group: str) -> SourceSettings:
    return SourceSettings(
        cluster=settings.cluster,
        topic=topic,
        group=f"{settings.app_id}-sink-{group}",
        session_timeout_ms=settings.session_timeout_ms,
        missing_offsets=settings.missing_offsets,
    )


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
