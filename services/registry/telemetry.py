"""The registry's metrics for Prometheus."""

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
from starlette.requests import Request
from starlette.responses import Response


class Metrics:
    """The metrics of one process; each instance has its own collector, so tests may run several."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Histogram(
            "avila_registry_request_seconds",
            "Time from a request's arrival to the end of its response, by route.",
            ["method", "route", "status"],
            registry=self._registry,
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Record a request that has been answered."""
        self._requests.labels(method, route, str(status)).observe(seconds)

    async def answer(self, _: Request) -> Response:
        """Answer a scrape."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)
