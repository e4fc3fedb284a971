"""Reports how far back duplicates are recognized, by project."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import structlog

from pipelines.worker.telemetry import DEDUP_COVERED
from schemas.dedup import Coverage, record_key

log = structlog.get_logger(__name__)

_INTERVAL_MS: Final = 10_000
_MAX_PROJECTS: Final = 1_000  # in the metric: those that are covered least
_MAX_WARNINGS: Final = 20  # a report
_HOUR_MS: Final = 3_600_000
_STEP_MS: Final = 360_000  # a change by less is not published


class CoverageReport:
    """Updates the metric, and warns once when a project is covered for less than the window."""

    def __init__(self, window_ms: int) -> None:
        self._window_ms = window_ms
        self._reported_ms = 0
        self._shown: set[str] = set()
        self._short: set[str] = set()
        self._published: dict[tuple[str, int], int] = {}

    def report(
        self, partitions: Mapping[int, Callable[[], dict[str, int]]], now_ms: int
    ) -> dict[bytes, bytes | None]:
        """Report every 10 s; each of `partitions` returns the milliseconds covered, by project.

        Returns the records of `avila.dedup` that say what has changed, values by key.
        """
        if now_ms - self._reported_ms < _INTERVAL_MS:
            return {}
        self._reported_ms = now_ms
        covered: dict[str, int] = {}
        by_partition: dict[tuple[str, int], int] = {}
        for partition, covered_ms in partitions.items():
            for project, ms in covered_ms().items():
                covered[project] = min(covered.get(project, ms), ms)
                by_partition[project, partition] = ms
        self._show(covered)
        self._warn({project: ms for project, ms in covered.items() if ms < self._window_ms})
        return self._changes(by_partition)

    def _changes(self, covered: dict[tuple[str, int], int]) -> dict[bytes, bytes | None]:
        """Return records for what was not published yet, or has changed much since.

        The first report says of every project that it knows that it is covered, too: another worker
        may have said that it was not.
        """
        changes: dict[bytes, bytes | None] = {}
        for place in sorted(covered, key=covered.__getitem__)[:_MAX_PROJECTS]:
            ms = covered[place]
            said = self._published.get(place)
            is_whole = ms >= self._window_ms
            if said is not None and (
                said == ms if is_whole else abs(said - ms) < min(_STEP_MS, self._window_ms // 10)
            ):
                continue
            self._published[place] = ms
            value = None if is_whole else msgspec.json.encode(Coverage(ms, self._window_ms))
            changes[record_key(*place)] = value
        self._published = {place: ms for place, ms in self._published.items() if place in covered}
        return changes

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
