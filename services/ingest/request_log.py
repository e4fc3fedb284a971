"""Record each request: counters and times for Prometheus, and a line in the access log."""

from collections.abc import Sequence
from typing import Final

from services.access_log import AccessLog
from services.ingest.events import EventResult
from services.ingest.telemetry import IngestTelemetry

# The label of requests to paths that belong to no format.
NO_FORMAT: Final = "none"

_MAX_PATH_CHARS: Final = 200
_CLIENT_ERRORS: Final = range(400, 500)


class RequestLog:
    """Records requests of all formats; `format_name` is the name of an `EventFormat`."""

    def __init__(self, telemetry: IngestTelemetry, access_log: AccessLog) -> None:
        self._telemetry = telemetry
        self._access_log = access_log

    def answered(
        self,
        format_name: str,
        status: int | str,
        seconds: float,
        results: Sequence[EventResult] = (),
        *,
        client: str,
        path: str = "",
    ) -> None:
        """Record a request, or a batch on a stream, that has been answered."""
        counts: dict[str, int] = {}
        for result in results:
            counts[result.result] = counts.get(result.result, 0) + 1
        self._telemetry.events_answered(format_name, counts)
        self._telemetry.request_answered(format_name, status, seconds)
        if self._access_log.wants(status):
            fields: dict[str, object] = {**counts, **({"path": path} if path else {})}
            self._access_log.line(status, seconds, format=format_name, client=client, **fields)

    def answered_elsewhere(self, status: int, seconds: float, *, client: str, path: str) -> None:
        """Record a request to a path that belongs to no format; health checks get no line."""
        self._telemetry.request_answered(NO_FORMAT, status, seconds)
        if status in _CLIENT_ERRORS:
            self._access_log.line(status, seconds, client=client, path=path[:_MAX_PATH_CHARS])

    def disconnected(self, format_name: str) -> None:
        """Record a client that left before its answer."""
        self._telemetry.client_disconnected(format_name)
