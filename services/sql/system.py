"""What clients find in the database `system`: what there is here, and nothing of ClickHouse.

Clients look there for databases, tables, columns, functions and settings before they show anything.
Each view is a list of constants, so no table of the real `system` is ever read.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Final

from services.sql.functions import AGGREGATES, FUNCTIONS
from services.sql.limits import LOWERABLE
from services.sql.text import quoted, string
from services.sql.views import DATABASE, VIEWS

SYSTEM: Final = "system"

_Value = str | int | None
_TABLE_ENGINE: Final = "View"
_NO_ID: Final = "00000000-0000-0000-0000-000000000000"


@cache
def system_views() -> Mapping[str, str]:
    """Return the queries of the views of `system`, by their names."""
    return {
        "one": "SELECT toUInt8(0) AS `dummy`",
        "databases": _listed(_databases()),
        "tables": _listed(_tables()),
        "columns": _listed(_columns()),
        "functions": _listed(_functions()),
        "settings": _listed(_settings()),
    }


def _databases() -> Iterable[dict[str, _Value]]:
    for name in (DATABASE, SYSTEM):
        yield {
            "name": name,
            "engine": "Atomic",
            "data_path": "",
            "metadata_path": "",
            "uuid": _NO_ID,
            "engine_full": "Atomic",
            "comment": "",
        }


def _tables() -> Iterable[dict[str, _Value]]:
    for view in VIEWS:
        yield {
            "database": DATABASE,
            "name": view.name,
            "uuid": _NO_ID,
            "engine": _TABLE_ENGINE,
            "is_temporary": 0,
            "create_table_query": "",
            "engine_full": "",
            "as_select": "",
            "partition_key": "",
            "sorting_key": "",
            "primary_key": "",
            "sampling_key": "",
            "storage_policy": "",
            "total_rows": None,
            "total_bytes": None,
            "comment": view.comment,
            "has_own_data": 0,
        }


def _columns() -> Iterable[dict[str, _Value]]:
    for view in VIEWS:
        for position, column in enumerate(view.columns, 1):
            yield {
                "database": DATABASE,
                "table": view.name,
                "name": column.name,
                "type": column.type,
                "position": position,
                "default_kind": "",
                "default_expression": "",
                "data_compressed_bytes": 0,
                "data_uncompressed_bytes": 0,
                "marks_bytes": 0,
                "comment": column.comment,
                "is_in_partition_key": 0,
                "is_in_sorting_key": 0,
                "is_in_primary_key": 0,
                "is_in_sampling_key": 0,
                "compression_codec": "",
            }


def _functions() -> Iterable[dict[str, _Value]]:
    for name in sorted(FUNCTIONS):
        yield {
            "name": name,
            "is_aggregate": int(name in AGGREGATES),
            "case_insensitive": 1,
            "alias_to": "",
            "create_query": "",
            "origin": "System",
            "description": "",
        }


def _settings() -> Iterable[dict[str, _Value]]:
    for name, most in LOWERABLE.items():
        yield {
            "name": name,
            "value": str(most),
            "changed": 1,
            "description": "",
            "min": None,
            "max": str(most),
            "readonly": 0,
            "type": "UInt64",
            "default": str(most),
            "alias_for": "",
            "is_obsolete": 0,
            "tier": "Production",
        }


def _listed(rows: Iterable[dict[str, _Value]]) -> str:
    """Return a query of rows that are constants; all rows have the same columns."""
    listed = list(rows)
    names = list(listed[0])
    values = ", ".join(f"({', '.join(_literal(one) for one in row.values())})" for row in listed)
    columns = ", ".join(
        f"{_typed(f'`__avila_row`.{at}', [row[name] for row in listed])} AS {quoted(name)}"
        for at, name in enumerate(names, 1)
    )
    return f"SELECT {columns} FROM (SELECT arrayJoin([{values}]) AS `__avila_row`)"  # noqa: S608 (constants)


def _typed(value: str, values: Sequence[_Value]) -> str:
    known = {type(one) for one in values if one is not None}
    if int in known:
        return f"toUInt64({value})"
    return value if known else f"CAST({value} AS Nullable(UInt64))"


def _literal(value: _Value) -> str:
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int) else string(value)
