"""The same conditions asked of the stream and of ClickHouse, over the same properties."""

import uuid
from collections.abc import Sequence

from pipelines.matching.conditions import compile_conditions, parse_properties
from schemas.conditions import Condition
from services.query.clickhouse.conditions import Binder, condition_sql
from tests.warehouse import Event, Warehouse


def in_clickhouse(
    warehouse: Warehouse, documents: Sequence[str], asked: Sequence[Condition]
) -> list[list[bool]]:
    """Which of the conditions hold, document by document, as the store sees it."""
    project = uuid.uuid4().hex
    warehouse.write(
        Event(project, "ada", "seen", 1_000 + i, doc) for i, doc in enumerate(documents)
    )
    bind = Binder()
    tests = ", ".join(condition_sql(condition, bind) for condition in asked)
    found = warehouse.client.query(
        f"SELECT [{tests}] FROM {warehouse.settings.clickhouse_database}.events "
        f"WHERE project_id = {bind(project, 'String')} ORDER BY timestamp",
        parameters=bind.parameters,
        settings={"compile_expressions": 0},  # as services.query.clickhouse.client asks
    )
    return [[bool(holds) for holds in row[0]] for row in found.result_rows]


def on_the_stream(documents: Sequence[str], asked: Sequence[Condition]) -> list[list[bool]]:
    """Which of the conditions hold, document by document, as the stream sees it."""
    tests = [compile_conditions([condition]) for condition in asked]
    return [[test(parse_properties(document)) for test in tests] for document in documents]
