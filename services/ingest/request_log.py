"""Record each request: counters and times for Prometheus, and a line in the access log."""

from collections.abc import Sequence

from services.access_log import AccessLog
from services.ingest.events import EventResult
from services.ingest.telemetry import IngestTelemetry


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

    def disconnected(self, format_name: str) -> None:
        """Record a client that left before its answer."""
        self._telemetry.client_disconnected(format_name)
