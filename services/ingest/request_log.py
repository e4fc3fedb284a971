"""What is told of each request: figures to Prometheus, and a line to the access log."""

from collections.abc import Sequence

from services.access_log import AccessLog
from services.ingest.events import Result
from services.ingest.telemetry import Metrics


class RequestLog:
    """Keeps both; `door` is a door's name."""

    def __init__(self, metrics: Metrics, log: AccessLog) -> None:
        self._metrics = metrics
        self._log = log

    def answered(
        self,
        door: str,
        status: int | str,
        seconds: float,
        results: Sequence[Result] = (),
        *,
        client: str,
        path: str = "",
    ) -> None:
        """Take note of a request, or of a batch on a stream, when it has its answer."""
        counts: dict[str, int] = {}
        for result in results:
            counts[result.result] = counts.get(result.result, 0) + 1
        self._metrics.taken(door, counts)
        self._metrics.answered(door, status, seconds)
        if self._log.wants(status):
            fields = counts | ({"path": path} if path else {})
            self._log.line(status, seconds, door=door, client=client, **fields)

    def gone(self, door: str) -> None:
        """Take note of a client that did not wait."""
        self._metrics.gone(door)
