"""The routes of a project's settings and tracking plans, and their descriptions."""

from typing import Final

from services.query.http.describe import (
    IF_MATCH,
    json_response,
    operation,
    page_parameters,
    tagged_response,
)
from services.query.http.routes import ApiRoute, RouteGroup
from services.query.projects.plans import PlanListResponse, PlanResponse, Plans
from services.query.projects.settings import Projects, ProjectSettings

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
