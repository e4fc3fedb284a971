"""Every definition that is accepted is answered by every endpoint, from stream and store."""

import functools
import itertools
from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import httpx
import msgspec
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from schemas.operators import OPERATORS as SPECS
from schemas.operators import OperatorSpec
from schemas.settings import Settings
from services.query.http.describe import Json
from services.query.operators import OPERATORS
from services.query.operators.contract import AnyOperator
from services.query.operators.routes import routes_of
from tests.laws.entry import DAY_MS, NOON, entry_of
from tests.services.query.conftest import ready, serve
from tests.warehouse import Event, Warehouse

API: Final = "/api/projects/shop"
OTHER: Final = "other"
# Names that mean something to ClickHouse, to SQL or to a template.
HOSTILE: Final = [
    *("^`a`", "^`", "^a", "a.b", ".", "a.:`Int64`", "a[]", "`", "'", '"', "\\", "\n", "\0", "%s"),
    *("{p0:String}", "$$", "?", "--", "' OR 1 = 1 --", "null", "*", "é", "\U0001f600", " "),
]
names = st.sampled_from(HOSTILE) | st.text(
    st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5
)
_OPERATORS: Final = {operator.spec.name: operator for operator in OPERATORS}


class Service(NamedTuple):
    """A query service on its own loop, and what calls it."""

    client: httpx.AsyncClient
    portal: BlockingPortal

    def ask(self, method: str, path: str, **given: Any) -> httpx.Response:
        return self.portal.call(functools.partial(self.client.request, method, path, **given))


@pytest.fixture
def service(settings: Settings, warehouse: Warehouse) -> Iterator[Service]:
    """A service whose store has some events, and a definition of each kind called `other`."""
    warehouse.write(
        Event("shop", person, event, NOON + number * DAY_MS, '{"plan": "pro", "p": 1}')
        for number, (person, event) in enumerate(itertools.product("ab", ("home", "cart", "a")))
    )
    away = warehouse.settings
    settings = msgspec.structs.replace(
        settings,
        clickhouse_dsn=away.clickhouse_dsn,
        clickhouse_database=away.clickhouse_database,
    )
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serve(settings)) as client,
    ):
        portal.call(ready, client)
        service = Service(client, portal)
        for spec in SPECS:
            body = {**entry_of(spec.name).body, "id": OTHER}
            assert service.ask("POST", f"{API}/{spec.plural}", json=body).status_code == 201
        yield service


def renamed(draw: st.DrawFn, node: Any, field: str = "") -> Any:
    """Return a definition with other names of events and properties here and there."""
    if isinstance(node, dict):
        return {name: renamed(draw, value, name) for name, value in node.items()}
    if isinstance(node, list | tuple):
        return [renamed(draw, value, field) for value in node]
    if isinstance(node, str) and field in ("event", "property", "hold_constant"):
        return draw(st.just(node) | names)
    return node


@st.composite
def bodies(draw: st.DrawFn, spec: OperatorSpec) -> Json:
    """A definition as a request gives it."""
    variants = entry_of(spec.name).variants
    case = draw(variants[draw(st.sampled_from(sorted(variants)))])
    body = renamed(draw, case.body)
    assert isinstance(body, dict)
    return body


def samples(body: Json, parameter: Json) -> list[Any]:
    """Values of a query parameter; None leaves it out, where that is allowed."""
    schema = parameter["schema"]
    if "enum" in schema:
        return list(schema["enum"])
    if not parameter.get("required"):
        return [None]
    if schema["type"] == "array":
        return [OTHER]
    if parameter["name"] in {"from", "to", "at"} and "format" not in schema:
        return ["2024-07-01"]  # positions or a time, as for `as_of`
    assert schema["format"] == "date", parameter
    # A Sunday or a Monday, and the first day of a month.
    return ["2024-09-01" if body.get("week_start") == "sunday" else "2024-07-01"]


def questions(operator: AnyOperator, definition: str, body: Json) -> Iterator[tuple[str, Json]]:
    """Every GET of one definition, with each combination of choices."""
    for route in routes_of(operator).routes:
        if route.method != "GET" or "{id}" not in route.path:
            continue
        asked = [one for one in route.operation.get("parameters", ()) if one["in"] == "query"]
        for values in itertools.product(*(samples(body, one) for one in asked)):
            pairs = zip((one["name"] for one in asked), values, strict=True)
            given = {name: value for name, value in pairs if value is not None}
            place = {"project": "shop", "id": definition, "person": "a/b?"}
            quoted = {name: quote(part, safe="") for name, part in place.items()}
            yield route.full_path.format(**quoted), given


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_what_is_accepted_is_answered_by_every_endpoint(
    service: Service, spec: OperatorSpec
) -> None:
    @hypothesis_settings(
        deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow]
    )
    @given(body=bodies(spec))
    def check(body: Json) -> None:
        made = service.ask("POST", f"{API}/{spec.plural}", json=body)
        if made.status_code == 400:
            assert made.json()["error"]["field"], made.text
            return
        assert made.status_code == 201, made.text
        definition = made.json()["id"]
        try:
            for path, params in questions(_OPERATORS[spec.name], definition, body):
                answer = service.ask("GET", path, params=params)
                assert answer.status_code == 200, (path, params, answer.text)
        finally:
            gone = service.ask("DELETE", f"{API}/{spec.plural}/{definition}")
            assert gone.status_code == 204

    check()
