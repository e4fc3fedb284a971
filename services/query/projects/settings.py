"""The endpoint of a project's settings, which are the defaults of its definitions."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.definitions import read_request
from schemas.keys import Project, TimeZone, encode, record_key
from schemas.time.calendar import WeekStart, find_zone
from services.commands import Commands, Write
from services.keys.view import Keys
from services.query.http.params import encode_response, now_ms, project_of, read_fields
from services.topic_view import TopicView


class ProjectSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of a project.

    `timezone` applies to the days of funnels, cohorts, segments and metrics that name none when
    they are created or replaced, and `week_start`, in the same way, to the weeks of funnels,
    cohorts and metrics.
    Existing definitions stay as they are.
    """

    timezone: TimeZone = "UTC"
    week_start: WeekStart = "monday"


_settings = msgspec.json.Decoder(ProjectSettings)


class Projects:
    """The endpoint `/api/projects/{project}/settings`."""

    def __init__(self, keys: Keys, view: TopicView[Any], commands: Commands) -> None:
        self._keys = keys
        self._view = view
        self._commands = commands

    def with_time_zone(self, project: str, fields: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
        """Return the fields of a definition, with the project's time zone if they name none."""
        return {"timezone": self.settings(project).timezone, **fields}

    def with_calendar(self, project: str, fields: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
        """Return the same, with the project's `week_start`, too, if the fields name none."""
        settings = self.settings(project)
        return {"timezone": settings.timezone, "week_start": settings.week_start, **fields}

    async def read(self, request: Request) -> Response:
        """Show the settings."""
        project = project_of(request)
        self._view.require()
        return encode_response(self.settings(project))

    async def put(self, request: Request) -> Response:
        """Set the settings; those that are left out return to their defaults."""
        project = project_of(request)
        settings = read_request(_settings, msgspec.json.encode(await read_fields(request)))
        find_zone(settings.timezone)
        self._view.require()

        def decide() -> Write[None]:
            before = self._keys.projects.get(project) or Project(id=project, updated_at=0)
            made = msgspec.structs.replace(
                before,
                timezone=settings.timezone,
                week_start=settings.week_start,
                updated_at=max(now_ms(), before.updated_at),
            )
            return Write(record_key(made), encode(made), {}, None)

        await self._commands.change(decide)
        return encode_response(settings)

    def settings(self, project: str) -> ProjectSettings:
        """Return the settings of a project."""
        known = self._keys.projects.get(project)
        if known is None:
            return ProjectSettings()
        return ProjectSettings(known.timezone, known.week_start)
