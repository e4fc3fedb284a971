"""The operators are registered once, and the query process loads nothing of the worker."""

import subprocess
import sys

import httpx
import pytest

from schemas.operators import OPERATORS as SPECS
from schemas.operators import OperatorSpec
from schemas.settings import Settings
from services.query import make_query_app
from services.query.api import ROUTES
from services.query.operators import OPERATORS
from tests.laws.entry import entry_of

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


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
async def test_a_definition_that_is_sent_back_as_it_is_shown_counts_the_same(
    query: httpx.AsyncClient, spec: OperatorSpec
) -> None:
    many = f"/api/projects/shop/{spec.plural}"
    answer = await query.post(many, json=entry_of(spec.name).body | {"id": "one"})
    assert answer.status_code == 201, answer.text
    shown = answer.json()
    back = (await query.put(f"{many}/one", json=shown)).json()
    assert (back["revision"], back["version"]) == (2, 1)
    assert back == shown | {"revision": 2, "updated_at": back["updated_at"]}


def test_every_operator_has_its_routes_and_no_path_is_routed_twice(settings: Settings) -> None:
    places = [(route.method, route.full_path) for route in ROUTES]
    assert len(places) == len(set(places))
    routes = make_query_app(settings).routes
    served = {getattr(route, "path", "").replace(":path}", "}") for route in routes}
    for operator in OPERATORS:
        many = f"/api/projects/{{project}}/{operator.spec.plural}"
        own = ("results", "status", *(endpoint.name for endpoint in operator.endpoints))
        assert {many, *(f"{many}/{{id}}/{name}" for name in own)} <= served
