"""The routes of what a project has besides its definitions, and their descriptions."""

from typing import Final

from services.query.http.describe import (
    IF_MATCH,
    json_response,
    number,
    operation,
    page_parameters,
    tagged_response,
)
from services.query.http.routes import ApiRoute, RouteGroup
from services.query.projects.plan_check import (
    PlanCheck,
    PlanCheckResponse,
    PlanChecks,
    PlanFault,
    PlanTrait,
)
from services.query.projects.plans import PlanListResponse, PlanResponse, Plans
from services.query.projects.reinjection import ReinjectRequest, ReinjectResponse
from services.query.projects.rejected import (
    DEFAULT_SAMPLES,
    Rejected,
    RejectedReason,
    RejectedResponse,
    RejectedSample,
)
from services.query.projects.settings import Projects, ProjectSettings
from services.query.projects.status import DedupStatus, ProjectStatus, ProjectStatusResponse
from services.query.views.rejected import MAX_SAMPLES

_SETTINGS: Final = "/settings"
_PLANS: Final = "/plans"
_PLAN: Final = "/plans/{id}"

SETTINGS_ROUTES: Final = RouteGroup(
    (
        ApiRoute(
            "GET",
            _SETTINGS,
            Projects.read,
            operation(
                "readSettings", "A project's settings", {"200": json_response(ProjectSettings)}
            ),
            "GetSettings",
        ),
        ApiRoute(
            "PUT",
            _SETTINGS,
            Projects.put,
            operation(
                "putSettings",
                "Set the settings of a project; existing definitions stay as they are",
                {"200": json_response(ProjectSettings)},
                413,
                body="ProjectSettings",
            ),
            "PutSettings",
        ),
    ),
    (ProjectSettings,),
)

REJECTED_ROUTES: Final = RouteGroup(
    (
        ApiRoute(
            "GET",
            "/rejected",
            Rejected.read,
            operation(
                "readRejected",
                "What was sent to Kafka and is no event, by reason, with samples",
                {"200": json_response(RejectedResponse)},
                parameters=(
                    number(
                        "samples",
                        "The most samples of a reason.",
                        0,
                        maximum=MAX_SAMPLES,
                        default=DEFAULT_SAMPLES,
                    ),
                ),
            ),
            "GetRejected",
        ),
        ApiRoute(
            "POST",
            "/rejected/reinject",
            Rejected.reinject,
            operation(
                "reinjectRejected",
                "Send rejected records to the inbox again; events that come twice count once",
                {"200": json_response(ReinjectResponse)},
                413,
                body="ReinjectRequest",
            ),
            "ReinjectRejected",
        ),
    ),
    (RejectedResponse, RejectedReason, RejectedSample, ReinjectRequest, ReinjectResponse),
)

PLAN_CHECK_ROUTES: Final = RouteGroup(
    (
        ApiRoute(
            "POST",
            "/plan-check",
            PlanChecks.check,
            operation(
                "checkPlan",
                "How many events of the last days a plan would drop, why, and what they share",
                {"200": json_response(PlanCheckResponse)},
                413,
                body="PlanCheck",
            ),
            "CheckPlan",
            scope="read",
        ),
    ),
    (PlanCheck, PlanCheckResponse, PlanFault, PlanTrait),
)

STATUS_ROUTES: Final = RouteGroup(
    (
        ApiRoute(
            "GET",
            "/status",
            ProjectStatus.read,
            operation(
                "readProjectStatus",
                "For how long back duplicates are recognized",
                {"200": json_response(ProjectStatusResponse)},
            ),
            "GetProjectStatus",
        ),
    ),
    (ProjectStatusResponse, DedupStatus),
)

PLAN_ROUTES: Final = RouteGroup(
    (
        ApiRoute(
            "GET",
            _PLANS,
            Plans.list,
            operation(
                "listPlans",
                "The plans of a project, by id",
                {"200": json_response(PlanListResponse)},
                parameters=page_parameters("plans"),
            ),
            "ListPlans",
        ),
        ApiRoute(
            "GET",
            _PLAN,
            Plans.read,
            operation("readPlan", "A plan", {"200": tagged_response(PlanResponse)}, 404),
            "GetPlan",
        ),
        ApiRoute(
            "PUT",
            _PLAN,
            Plans.put,
            operation(
                "putPlan",
                "Create a plan, or give it a new definition; it holds for events that are accepted "
                "from a second later on, and not for those produced to Kafka directly",
                {"200": tagged_response(PlanResponse), "201": tagged_response(PlanResponse)},
                *(404, 409, 413),
                parameters=(IF_MATCH,),
                body="NewPlan",
            ),
            "PutPlan",
        ),
        ApiRoute(
            "DELETE",
            _PLAN,
            Plans.delete,
            operation(
                "deletePlan",
                "Delete a plan",
                {"204": {"description": "Deleted: the event is not checked any more"}},
                *(404, 409),
                parameters=(IF_MATCH,),
            ),
            "DeletePlan",
        ),
    ),
    (PlanResponse, PlanListResponse),
)
