"""The settings of a project over HTTP: what its definitions go by where they say nothing."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.definitions import read_request
from schemas.keys import Project, TimeZone, encode, record_key
from schemas.time.calendar import find_zone
from services.commands import Commands, Write
from services.keys.view import Keys
from services.query.http.params import json_answer, now_ms, project_of, read_fields
from services.topic_view import TopicView


class ProjectSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of a project.

    `timezone` is that of the periods of cohorts and metrics which name none when they are made, or
    replaced. Those that stand already keep theirs: their figures are counted by it.
    """

    timezone: TimeZone = "UTC"


_settings = msgspec.json.Decoder(ProjectSettings)


class Projects:
    """The endpoint `/api/projects/{project}/settings`."""

    def __init__(self, keys: Keys, view: TopicView[Any], commands: Commands) -> None:
        self._keys = keys
        self._view = view
        self._commands = commands

    def completed(self, project: str, fields: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
        """The fields of a definition that has a time zone, with the project's if it names none."""
        return {"timezone": self._settings(project).timezone, **fields}

    async def read(self, request: Request) -> Response:
        """Show the settings."""
        project = project_of(request)
        self._view.require()
        return json_answer(self._settings(project))

    async def put(self, request: Request) -> Response:
        """Set them: what is not given becomes what it is without settings."""
        project = project_of(request)
        settings = read_request(_settings, msgspec.json.encode(await read_fields(request)))
        find_zone(settings.timezone)
        self._view.require()

        def decide() -> Write[None]:
            before = self._keys.projects.get(project) or Project(id=project, updated_at=0)
            made = msgspec.structs.replace(
                before, timezone=settings.timezone, updated_at=max(now_ms(), before.updated_at)
            )
            return Write(record_key(made), encode(made), {}, None)

        await self._commands.change(decide)
        return json_answer(settings)

    def _settings(self, project: str) -> ProjectSettings:
        known = self._keys.projects.get(project)
        return ProjectSettings() if known is None else ProjectSettings(known.timezone)
