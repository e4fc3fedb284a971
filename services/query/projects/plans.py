"""The endpoints of tracking plans, which define what the properties of an event must be.

The ingest service checks plans; events produced to Kafka directly are not checked.
"""

import operator
from typing import Any, Final

import msgspec

from schemas.errors import Conflict
from schemas.plans import MAX_PLANS_PER_PROJECT, Mode, Plan, PlanDefinition, decode_plan, encode
from services.commands import Commands
from services.query.documents.resource import Documents, DocumentSpec
from services.query.views.catalog import Definitions
from services.query.views.changes import Key
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


def _define(parts: dict[str, Any], plan: Plan) -> PlanDefinition:
    return PlanDefinition(**parts, plan=plan)


SPEC: Final = DocumentSpec(
    kind=PlanDefinition.KIND,
    plural="plans",
    read=decode_plan,
    define=_define,
    body=lambda definition: definition.plan,
    counts_alike=operator.eq,
    encode=encode,
    show=_show,
    page=PlanListResponse,
)


class Plans(Documents[Plan, PlanDefinition]):
    """The endpoints under `/api/projects/{project}/plans`."""

    max_per_project = MAX_PLANS_PER_PROJECT

    def __init__(
        self, plans: Definitions[PlanDefinition], view: TopicView[Any], commands: Commands
    ) -> None:
        super().__init__(SPEC, view, commands, plans)

    def _check_others(self, key: Key, body: Plan) -> None:
        """Refuse a second plan of one event."""
        for other in self.definitions.of(key.project_id):
            if other.plan.event == body.event and other.id != key.id:
                raise Conflict(
                    f"the plan of the event {body.event!r} is {other.id}: change that one, or "
                    "delete it first"
                )
