"""The endpoint of a project's status: what its figures depend on that is no definition."""

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.query.http.params import encode_response, project_of
from services.query.views.dedup import DedupCoverage
from services.topic_view import TopicView

_HOUR_MS: Final = 3_600_000


class DedupStatus(msgspec.Struct, frozen=True):
    """For how many hours back an event that is sent again counts once.

    `warning` says what to do if that is less than the window; it is empty otherwise.
    """

    covered_hours: float
    window_hours: float
    warning: str


class ProjectStatusResponse(msgspec.Struct, frozen=True):
    """The status of a project."""

    dedup: DedupStatus


class ProjectStatus:
    """The endpoint `/api/projects/{project}/status`."""

    def __init__(self, coverage: DedupCoverage, view: TopicView[Any], window_s: int) -> None:
        self._coverage = coverage
        self._view = view
        self._window_ms = window_s * 1_000

    async def read(self, request: Request) -> Response:
        """Show the status."""
        project = project_of(request)
        self._view.require()
        covered_ms = self._coverage.covered_ms(project, self._window_ms)
        covered, window = covered_ms / _HOUR_MS, self._window_ms / _HOUR_MS
        warning = ""
        if covered_ms < self._window_ms:
            warning = (
                f"an event that is sent again after {covered:.2f} hours counts again, although the "
                f"window is {window:.2f} hours: raise AVILA_DEDUP_MEMORY_MB, or run more workers"
            )
        status = DedupStatus(round(covered, 2), round(window, 2), warning)
        return encode_response(ProjectStatusResponse(status))
