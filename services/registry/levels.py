"""`/config` and `/compatibility`: the compatibility levels, and checks of schemas against them."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from schemas.avro.resolution import COMPATIBILITIES, Compatibility
from schemas.registry.subjects import DEFAULT_COMPATIBILITY, Record, Subjects, level_record
from services.registry import errors
from services.registry.access import Access, refuse_own
from services.registry.errors import Refused
from services.registry.requests import (
    AsyncRegistry,
    answer,
    find_version,
    flag,
    read_body,
    read_schema,
    subject_of,
    version_of,
)


class LevelsApi:
    """The endpoints under `/config` and `/compatibility`."""

    def __init__(self, registry: AsyncRegistry, access: Access) -> None:
        self._registry = registry
        self._access = access

    async def level(self, request: Request) -> Response:
        """Return the global level, or that of one subject."""
        subject = request.path_params.get("subject")
        by_default = flag(request, "defaultToGlobal")

        def look(subjects: Subjects) -> Compatibility:
            if subject is None:
                return subjects.level(None) or DEFAULT_COMPATIBILITY
            own = subjects.level(subject)
            if own is None and not by_default:
                raise errors.no_level(subject)
            return own or subjects.compatibility(subject)

        return answer({"compatibilityLevel": await self._registry.view(look)})

    async def set_level(self, request: Request) -> Response:
        """Set the global level, or that of one subject."""
        subject = request.path_params.get("subject")
        self._access.check(request)
        refuse_own(self._access, subject)
        level = _read_level(await read_body(request, dict[str, Any]))
        return answer(
            await self._registry.change(
                lambda _: ({"compatibility": level}, [level_record(subject, level)])
            )
        )

    async def unset_level(self, request: Request) -> Response:
        """Remove a level, so that the next higher one applies; return the removed level."""
        subject = request.path_params.get("subject")
        self._access.check(request)
        refuse_own(self._access, subject)

        def decide(subjects: Subjects) -> tuple[Compatibility, list[Record]]:
            level = subjects.level(subject)
            if level is not None:
                return level, subjects.unset_level(subject)
            if subject is not None:
                raise errors.no_subject(subject)
            return DEFAULT_COMPATIBILITY, []

        return answer({"compatibilityLevel": await self._registry.change(decide)})

    async def test_version(self, request: Request) -> Response:
        """Return whether a schema is compatible with one version of a subject."""
        subject, number = subject_of(request), version_of(request)
        schema = await read_schema(request)

        def look(subjects: Subjects) -> list[str]:
            if number is None and not subjects.versions(subject):
                return []
            earlier = find_version(subjects, subject, number, deleted=False)
            return subjects.incompatibilities(subject, schema, [earlier])

        return _verdict(request, await self._registry.view(look))

    async def test(self, request: Request) -> Response:
        """Tell whether a schema may be put under a subject now."""
        subject, schema = subject_of(request), await read_schema(request)
        problems = await self._registry.view(
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
