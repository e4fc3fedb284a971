"""The operators are registered once, and the query process loads nothing of the worker."""

import subprocess
import sys

import pytest

from schemas.operators import OPERATORS as SPECS
from schemas.settings import Settings
from services.query import make_query_app
from services.query.api import ROUTES
from services.query.operators import OPERATORS

WORKER_ONLY = ("numba", "faust", "pipelines")


@pytest.mark.parametrize("module", ["services.query.app", "services.replay", "services.query"])
def test_the_query_process_loads_no_part_of_the_worker(module: str) -> None:
    code = (
        f"import sys, {module}; loaded = {{name.partition('.')[0] for name in sys.modules}}; "
        f"print(*sorted(loaded & {set(WORKER_ONLY)}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_both_registries_have_the_same_operators() -> None:
    assert [operator.spec for operator in OPERATORS] == list(SPECS)


def test_every_operator_has_its_routes_and_no_path_is_routed_twice(settings: Settings) -> None:
    places = [(route.method, route.full_path) for route in ROUTES]
    assert len(places) == len(set(places))
    routes = make_query_app(settings).routes
    served = {getattr(route, "path", "").replace(":path}", "}") for route in routes}
    for operator in OPERATORS:
        many = f"/api/projects/{{project}}/{operator.spec.plural}"
        own = ("results", "status", *(endpoint.name for endpoint in operator.endpoints))
        assert {many, *(f"{many}/{{id}}/{name}" for name in own)} <= served
