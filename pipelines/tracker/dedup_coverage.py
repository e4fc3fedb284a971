"""Reports how far back duplicates are recognized, by project."""

from collections.abc import Callable, Sequence
from typing import Final

import structlog

from pipelines.worker.telemetry import DEDUP_COVERED

log = structlog.get_logger(__name__)

_INTERVAL_MS: Final = 10_000
_MAX_PROJECTS: Final = 1_000  # in the metric: those that are covered least
_MAX_WARNINGS: Final = 20  # a report
_HOUR_MS: Final = 3_600_000


class CoverageReport:
    """Updates the metric, and warns once when a project is covered for less than the window."""

    def __init__(self, window_ms: int) -> None:
        self._window_ms = window_ms
        self._reported_ms = 0
        self._shown: set[str] = set()
        self._short: set[str] = set()

    def report(self, partitions: Sequence[Callable[[], dict[str, int]]], now_ms: int) -> None:
        """Report every 10 s; each of `partitions` returns the milliseconds covered, by project."""
        if now_ms - self._reported_ms < _INTERVAL_MS:
            return
        self._reported_ms = now_ms
        covered: dict[str, int] = {}
        for covered_ms in partitions:
            for project, ms in covered_ms().items():
                covered[project] = min(covered.get(project, ms), ms)
        self._show(covered)
        self._warn({project: ms for project, ms in covered.items() if ms < self._window_ms})

    def _show(self, covered: dict[str, int]) -> None:
        shown = sorted(covered, key=covered.__getitem__)[:_MAX_PROJECTS]
        for project in shown:
            DEDUP_COVERED.labels(project).set(covered[project] / 1000)
        for project in self._shown - set(shown):
            DEDUP_COVERED.remove(project)
        self._shown = set(shown)

    def _warn(self, short: dict[str, int]) -> None:
        for project in sorted(short.keys() - self._short, key=short.__getitem__)[:_MAX_WARNINGS]:
            log.warning(
                "duplicates are recognized for less than the window",
                project=project,
                hours=round(short[project] / _HOUR_MS, 2),
                window_hours=round(self._window_ms / _HOUR_MS, 2),
                remedy="raise AVILA_DEDUP_MEMORY_MB, or run more workers",
            )
        self._short = set(short)
