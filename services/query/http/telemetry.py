"""The metrics of the query service for Prometheus."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from services.topic_view import TopicView

_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class QueryTelemetry:
    """The metrics of one process for Prometheus, in a registry of their own."""

    def __init__(self, topic_views: Iterable[TopicView[Any]]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Histogram(
            "avila_query_request_seconds",
            "Time from a request's arrival to the end of its response, by route.",
            ["method", "route", "status"],
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self._live_messages = Counter(
            "avila_query_live_messages_total",
            "Messages sent on live WebSockets, by topic.",
            ["topic"],
            registry=self._registry,
        )
        self._live_dropped = Counter(
            "avila_query_live_dropped_events_total",
            "Events that were dropped because a reader was too slow.",
            registry=self._registry,
        )
        self._live_refused = Counter(
            "avila_query_live_refused_total",
            "WebSockets that the service refused or closed, by the error's code.",
            ["code"],
            registry=self._registry,
        )
        views = list(topic_views)
        self._registry.register(_Views(views))
        delay = Histogram(
            "avila_query_view_delay_seconds",
            "Time from the writing of a record to its place in a view, its commit included.",
            ["view"],
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        for view in views:
            view.observe_delay = delay.labels(view.name).observe

    def watch_live(self, connections: Callable[[], int]) -> None:
        """Report the number that this returns, at each scrape."""
        gauge = Gauge("avila_query_live_connections", "Open WebSockets.", registry=self._registry)
        gauge.set_function(connections)

    def watch_cache(self, counts: Callable[[], tuple[int, int, int]]) -> None:
        """Report the hits, the misses and the bytes of a cache, as this returns them."""
        self._registry.register(_Cache(counts))

    def live_sent(self, topic: str, dropped: int) -> None:
        """Count a message of a topic, and the events that it reports as dropped."""
        self._live_messages.labels(topic).inc()
        self._live_dropped.inc(dropped)

    def live_refused(self, code: str) -> None:
        """Count a connection that was refused, or closed for an error."""
        self._live_refused.labels(code).inc()

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that has been answered."""
        self._requests.labels(method, route, str(status)).observe(seconds)

    async def answer(self, _: Request) -> Response:
        """Answer a scrape."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)


class _Views(Collector):
    """Reads the views at each scrape, so that nothing has to update gauges."""

    def __init__(self, topic_views: list[TopicView[Any]]) -> None:
        self._topic_views = topic_views

    def collect(self) -> Iterable[Metric]:
        lag = GaugeMetricFamily(
            "avila_query_view_lag_records",
            "Entries of its topics that a view has not read yet.",
            labels=["view"],
        )
        ready = GaugeMetricFamily(
            "avila_query_view_ready",
            "1 if a view is up to date and follows its topics.",
            labels=["view"],
        )
        records = CounterMetricFamily(
            "avila_query_view_records", "Records that a view has read.", labels=["view"]
        )
        for topic_view in self._topic_views:
            lag.add_metric([topic_view.name], topic_view.lag)
            ready.add_metric([topic_view.name], not topic_view.trouble)
            records.add_metric([topic_view.name], topic_view.records)
        return [lag, ready, records]


class _Cache(Collector):
    """Reads the cache of answers at each scrape."""

    def __init__(self, counts: Callable[[], tuple[int, int, int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterable[Metric]:
        hits, misses, held = self._counts()
        found = CounterMetricFamily(
            "avila_query_cache_requests",
            "Queries that were looked for in the cache of answers, by result.",
            labels=["result"],
        )
        found.add_metric(["hit"], hits)
        found.add_metric(["miss"], misses)
        size = GaugeMetricFamily("avila_query_cache_bytes", "Memory that cached answers take.")
        size.add_metric([], held)
        return [found, size]
