"""`/config` and `/compatibility`: what may follow what, and whether something would be let."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from schemas.avro.resolution import COMPATIBILITIES, Compatibility
from schemas.registry.subjects import DEFAULT_COMPATIBILITY, Record, Subjects, level_record
from services.registry import errors
from services.registry.errors import Refused
from services.registry.requests import (
    KeyAdmin,
    answer,
    flag,
    pick,
    read_body,
    read_schema,
    subject_of,
    version_of,
)


class LevelsApi:
    """The endpoints under `/config` and `/compatibility`."""

    def __init__(self, desk: KeyAdmin) -> None:
        self._desk = desk

    async def level(self, request: Request) -> Response:
        """Show the level of all subjects, or that of one."""
        subject = request.path_params.get("subject")
        by_default = flag(request, "defaultToGlobal")

        def look(subjects: Subjects) -> Compatibility:
            if subject is None:
                return subjects.level(None) or DEFAULT_COMPATIBILITY
            own = subjects.level(subject)
            if own is None and not by_default:
                raise errors.no_level(subject)
            return own or subjects.compatibility(subject)

        return answer({"compatibilityLevel": await self._desk.view(look)})

    async def set_level(self, request: Request) -> Response:
        """Set the level of all subjects, or that of one."""
        subject = request.path_params.get("subject")
        level = _read_level(await read_body(request, dict[str, Any]))
        return answer(
            await self._desk.change(
                lambda _: ({"compatibility": level}, [level_record(subject, level)])
            )
        )

    async def unset_level(self, request: Request) -> Response:
        """Take a level back, so that the one above it counts; tell what it was."""
        subject = request.path_params.get("subject")

        def decide(subjects: Subjects) -> tuple[Compatibility, list[Record]]:
            level = subjects.level(subject)
            if level is not None:
                return level, [level_record(subject, None)]
            if subject is not None:
                raise errors.no_subject(subject)
            return DEFAULT_COMPATIBILITY, []

        return answer({"compatibilityLevel": await self._desk.change(decide)})

    async def test_version(self, request: Request) -> Response:
        """Tell whether a schema may follow one version of a subject."""
        subject, number = subject_of(request), version_of(request)
        schema = await read_schema(request)

        def look(subjects: Subjects) -> list[str]:
            if number is None and not subjects.versions(subject):
                return []
            earlier = pick(subjects, subject, number, deleted=False)
            return subjects.incompatibilities(subject, schema, [earlier])

        return _verdict(request, await self._desk.view(look))

    async def test(self, request: Request) -> Response:
        """Tell whether a schema may be put under a subject now."""
        subject, schema = subject_of(request), await read_schema(request)
        problems = await self._desk.view(
            lambda subjects: subjects.incompatibilities(subject, schema, subjects.versions(subject))
        )
        return _verdict(request, problems)


def _read_level(body: dict[str, Any]) -> Compatibility:
    given = {name: value for name, value in body.items() if value is not None}
    text = given.pop("compatibility", given.pop("compatibilityLevel", None))
    if given:
        names = ", ".join(sorted(given))
        raise Refused(422, f"{names[:200]} cannot be set here, only compatibility")
    for level in COMPATIBILITIES:
        if isinstance(text, str) and level == text.upper():
            return level
    raise Refused(
        errors.INVALID_LEVEL,
        f"Invalid compatibility level. Valid values are {', '.join(COMPATIBILITIES)}",
    )


def _verdict(request: Request, problems: list[str]) -> Response:
    verdict: dict[str, Any] = {"is_compatible": not problems}
    if flag(request, "verbose"):
        verdict["messages"] = problems
    return answer(verdict)
