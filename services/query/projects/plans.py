"""The endpoints of tracking plans, which define what the properties of an event must be.

The ingest service checks plans; events produced to Kafka directly are not checked.
"""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.definitions import definition_key
from schemas.errors import Conflict, InvalidRequest, NotFound
from schemas.plans import MAX_PLANS_PER_PROJECT, Mode, PlanDefinition, decode_plan, encode
from services.commands import Commands, Write
from services.query.http.params import (
    ANY,
    encode_response,
    key_of,
    now_ms,
    parts,
    project_of,
    read_expected,
    read_fields,
    read_page,
    take,
)
from services.query.views.catalog import Definitions
from services.query.views.changes import tombstone_headers
from services.topic_view import TopicView


class PlanResponse(msgspec.Struct, frozen=True):
    """A plan as it is shown; times in milliseconds since 1970.

    `revision` rises with every change, `version` only when the plan differs.
    """

    id: str
    revision: int
    version: int
    created_at: int
    updated_at: int
    event: str
    mode: Mode
    schema: dict[str, Any]


class PlanListResponse(msgspec.Struct, frozen=True):
    """Some of a project's plans, by id; `next` is the next page's `after`, null at the end."""

    plans: list[PlanResponse]
    next: str | None


class Plans:
    """The endpoints under `/api/projects/{project}/plans`."""

    def __init__(
        self, plans: Definitions[PlanDefinition], view: TopicView[Any], commands: Commands
    ) -> None:
        self._plans = plans
        self._view = view
        self._commands = commands

    async def list(self, request: Request) -> Response:
        """Show a page of the project's plans."""
        project = project_of(request)
        after, limit = read_page(request)
        self._view.require()
        found = self._plans.page(project, after, limit + 1)
        page, more = found[:limit], len(found) > limit
        return encode_response(
            PlanListResponse([_show(plan) for plan in page], page[-1].id if more else None)
        )

    async def read(self, request: Request) -> Response:
        """Show a plan."""
        key = key_of(request)
        self._view.require()
        return _answer(self._plans.get(key))

    async def put(self, request: Request) -> Response:
        """Create a plan, or change it."""
        key = key_of(request)
        fields = await read_fields(request)
        expected = read_expected(request, fields)
        if take(fields, "id", str) not in {None, key.id}:
            raise InvalidRequest(f"the plan of this address is {key.id}", "id")
        # A plan may be sent back as it is shown.
        fields.pop("created_at", None)
        fields.pop("updated_at", None)
        plan = decode_plan(msgspec.json.encode(fields))
        self._view.require()

        def decide() -> Write[tuple[PlanDefinition, bool]]:
            before, others = self._plans.find(key), self._plans.of(key.project_id)
            numbers = self._plans.numbers(key)
            if before is not None or self._plans.unreadable(key) is not None:
                expected.check(key.id, numbers)
            elif expected != ANY:
                raise NotFound(f"project {key.project_id} has no plan {key.id}")
            elif len(others) >= MAX_PLANS_PER_PROJECT:
                raise Conflict(
                    f"project {key.project_id} has {MAX_PLANS_PER_PROJECT} plans, which is the "
                    "maximum: delete one first"
                )
            for other in others:
                if other.plan.event == plan.event and other.id != key.id:
                    raise Conflict(
                        f"the plan of the event {plan.event!r} is {other.id}: change that one, or "
                        "delete it first"
                    )
            now = now_ms()
            created = before.created_at if before else now
            updated = max(now, before.updated_at) if before else now
            numbers = numbers.next()
            if before is not None and before.plan == plan:
                numbers = numbers._replace(version=before.version)
            definition = PlanDefinition(**parts(key, numbers, created, updated), plan=plan)
            return Write(definition.key, encode(definition), {}, (definition, before is None))

        definition, is_new = await self._commands.change(decide)
        return _answer(definition, 201 if is_new else 200)

    async def delete(self, request: Request) -> Response:
        """Delete a plan, so that its event may have any properties."""
        key = key_of(request)
        expected = read_expected(request, {})
        self._view.require()

        def decide() -> Write[None]:
            if self._plans.unreadable(key) is None:
                self._plans.get(key)
            numbers = self._plans.numbers(key)
            expected.check(key.id, numbers)
            record = definition_key(key.project_id, PlanDefinition.KIND, key.id)
            return Write(record, None, tombstone_headers(numbers), None)

        await self._commands.change(decide)
        return Response(status_code=204)


def _show(definition: PlanDefinition) -> PlanResponse:
    return PlanResponse(
        definition.id,
        definition.revision,
        definition.version,
        definition.created_at,
        definition.updated_at,
        definition.plan.event,
        definition.plan.mode,
        definition.plan.schema,
    )


def _answer(definition: PlanDefinition, status: int = 200) -> Response:
    return encode_response(_show(definition), status, {"ETag": f'"{definition.revision}"'})
