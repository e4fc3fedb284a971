"""`/subjects`: list, register, look up and delete schemas by subject and version."""

from starlette.requests import Request
from starlette.responses import Response

from schemas.registry.subjects import Record, Subjects
from services.registry import errors
from services.registry.access import Access, checked, refuse_own
from services.registry.deletion import delete_subject, delete_version
from services.registry.requests import (
    AsyncRegistry,
    answer,
    find_version,
    flag,
    page,
    read_schema,
    subject_of,
    text_answer,
    version_body,
    version_of,
)


class SubjectsApi:
    """The endpoints under `/subjects`."""

    def __init__(self, registry: AsyncRegistry, access: Access) -> None:
        self._registry = registry
        self._access = access

    async def list(self, request: Request) -> Response:
        """List the subjects."""
        deleted, only = flag(request, "deleted"), flag(request, "deletedOnly", "deleted_only")
        prefix = request.query_params.get("subjectPrefix", "")

        def look(subjects: Subjects) -> set[str]:
            if only:
                return set(subjects.subjects(deleted=True)) - set(subjects.subjects())
            return set(subjects.subjects(deleted=deleted))

        names = sorted(await self._registry.view(look))
        # Confluent's `:*:` means all contexts; there is only one here.
        prefix = "" if prefix == ":*:" else prefix
        return answer(page(request, [name for name in names if name.startswith(prefix)]))

    async def versions(self, request: Request) -> Response:
        """List the numbers of a subject's versions."""
        subject = subject_of(request)
        deleted, only = flag(request, "deleted"), flag(request, "deletedOnly", "deleted_only")
        versions = await self._registry.view(
            lambda subjects: subjects.versions(subject, deleted=deleted or only)
        )
        if not versions:
            raise errors.no_subject(subject)
        numbers = [version.version for version in versions if version.deleted or not only]
        return answer(page(request, numbers))

    async def version(self, request: Request) -> Response:
        """Return a version."""
        subject, number = subject_of(request), version_of(request)
        deleted = flag(request, "deleted")
        found = await self._registry.view(
            lambda subjects: find_version(subjects, subject, number, deleted=deleted)
        )
        if request.url.path.endswith("/schema"):
            return text_answer(found.schema)
        return answer(version_body(found))

    async def register(self, request: Request) -> Response:
        """Register a schema under a subject, and return its id."""
        subject, normalize = subject_of(request), flag(request, "normalize")
        schema = await read_schema(request)

        def decide(subjects: Subjects) -> tuple[int, list[Record]]:
            schema_id, records = subjects.registration(subject, schema, normalize=normalize)
            if records and subject not in self._access.open:
                refuse_own(self._access, subject)
            return schema_id, records

        schema_id = await self._registry.change(checked(self._access, request, decide))
        return answer({"id": schema_id})

    async def look_up(self, request: Request) -> Response:
        """Return the version of a subject that is the schema in the request."""
        subject = subject_of(request)
        deleted, normalize = flag(request, "deleted"), flag(request, "normalize")
        schema = await read_schema(request)
        exists, found = await self._registry.view(
            lambda subjects: (
                bool(subjects.versions(subject, deleted=deleted)),
                subjects.find(subject, schema, deleted=deleted, normalize=normalize),
            )
        )
        if found is None:
            raise errors.no_schema() if exists else errors.no_subject(subject)
        return answer(version_body(found))

    async def delete(self, request: Request) -> Response:
        """Delete a subject, softly or permanently, and return the deleted versions."""
        subject, permanent = subject_of(request), flag(request, "permanent")
        self._access.check(request)
        refuse_own(self._access, subject)
        return answer(
            await self._registry.change(
                lambda subjects: delete_subject(subjects, subject, permanent=permanent)
            )
        )

    async def delete_version(self, request: Request) -> Response:
        """Delete a version, softly or permanently, and return its number."""
        subject, number = subject_of(request), version_of(request)
        permanent = flag(request, "permanent")
        self._access.check(request)
        refuse_own(self._access, subject)
        return answer(
            await self._registry.change(
                lambda subjects: delete_version(subjects, subject, number, permanent=permanent)
            )
        )
