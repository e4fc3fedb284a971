"""`/schemas`: schemas by their ids, as readers of values look them up."""

from starlette.requests import Request
from starlette.responses import Response

from schemas.registry.subjects import Subjects, Version
from services.registry import errors
from services.registry.errors import Refused
from services.registry.requests import AsyncRegistry, answer, flag, page, text_answer


class IdsApi:
    """The endpoints under `/schemas`. A schema is found until it is deleted permanently."""

    def __init__(self, registry: AsyncRegistry) -> None:
        self._registry = registry

    async def types(self, _: Request) -> Response:
        """List the accepted types of schema."""
        return answer(["AVRO"])

    async def schema(self, request: Request) -> Response:
        """Return the schema with an id."""
        schema_id = _id(request)
        found = await self._registry.view(lambda subjects: _standing(subjects, schema_id))
        if request.url.path.endswith("/schema"):
            return text_answer(found.schema)
        return answer({**dict(found.other), "schema": found.schema})

    async def subjects(self, request: Request) -> Response:
        """List the subjects in which the schema is registered."""
        places = await self._places(request)
        return answer(page(request, list(dict.fromkeys(place.subject for place in places))))

    async def versions(self, request: Request) -> Response:
        """List the subjects and versions of the schema."""
        places = await self._places(request)
        listed = [{"subject": place.subject, "version": place.version} for place in places]
        return answer(page(request, listed))

    async def _places(self, request: Request) -> list[Version]:
        schema_id, deleted = _id(request), flag(request, "deleted")
        subject = request.query_params.get("subject")

        def look(subjects: Subjects) -> list[Version]:
            _standing(subjects, schema_id)
            return subjects.with_id(schema_id, deleted=deleted)

        places = await self._registry.view(look)
        return [place for place in places if subject in {None, place.subject}]


def _id(request: Request) -> int:
    text = request.path_params["id"]
    if text.isascii() and text.isdigit():
        return int(text)
    raise Refused(404, f"{text[:40]!r} is not a schema id; a whole number is accepted")


def _standing(subjects: Subjects, schema_id: int) -> Version:
    found = subjects.any_version(schema_id)
    if found is None:
        raise errors.no_schema(schema_id)
    return found
