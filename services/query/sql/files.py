"""The types that columns of SQL have in Parquet files and Arrow streams.

Times are timestamps in UTC. Integers, floats, decimals, booleans, dates and text are as they are.
Identifiers, addresses, enumerations, and integers of more than 64 bits are text. What has no type
of its own, such as `properties.plan`, is JSON text, and so are lists and maps of any of these.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from schemas.errors import InvalidRequest
from services.query.tables.media import ARROW, CSV, NDJSON, PARQUET
from services.sql.errors import FIELD
from services.sql.text import quoted

# The formats of ClickHouse, by media type.
FORMATS: Final = {
    CSV: "CSVWithNames",
    NDJSON: "JSONEachRow",
    PARQUET: "Parquet",
    ARROW: "ArrowStream",
}
# Those whose columns have types.
TYPED: Final = {PARQUET, ARROW}

_PLAIN: Final = re.compile(
    r"U?Int(8|16|32|64)|Float(32|64)|Bool|String|Date|Date32|Decimal(32|64|128)?\([0-9, ]+\)"
)
_WRAPPED: Final = re.compile(r"(?:LowCardinality|Nullable)\((.*)\)", re.DOTALL)
_NESTED: Final = re.compile(r"(?:Array|Map|Tuple|Nested)\(", re.DOTALL)
# In lists and maps, what is not plain.
_OTHER: Final = re.compile(
    r"UUID|IPv[46]|Enum|FixedString|Int(?:128|256)|JSON|Dynamic|Variant|Object|DateTime|Nothing"
    r"|Interval|Decimal256|AggregateFunction"
)


class ResultColumn(NamedTuple):
    """A column of a result, with its type in ClickHouse."""

    name: str
    type: str


def typed_statement(statement: str, columns: Sequence[ResultColumn]) -> str:
    """Return a statement with the same rows, whose columns have types that files have.

    Raises:
        InvalidRequest: two columns have the same name, which readers of files do not expect.
    """
    names = [one.name for one in columns]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise InvalidRequest(f"two columns are named {name[:100]!r}: rename one with AS", FIELD)
    shown = ", ".join(_shown(columns))
    return f"SELECT {shown} FROM (\n{statement}\n)"  # noqa: S608 (printed from a checked tree)


def _shown(columns: Iterable[ResultColumn]) -> Iterable[str]:
    for name, kind in columns:
        column = quoted(name)
        yield f"{_converted(column, kind)} AS {column}"


def _converted(column: str, kind: str) -> str:
    inner = _unwrapped(kind)
    if _PLAIN.fullmatch(inner):
        return column
    if inner.startswith("DateTime64("):
        return f"toTimeZone({column}, 'UTC')"
    if inner.startswith("DateTime"):
        return f"toDateTime64({column}, 0, 'UTC')"
    if inner == "Nothing":
        return "CAST(NULL AS Nullable(String))"
    if _NESTED.match(inner):
        return f"toJSONString({column})" if _OTHER.search(inner) else column
    if inner.startswith(("JSON", "Dynamic", "Variant", "Object")):
        return f"if(isNull({column}), NULL, toJSONString({column}))"
    return f"toString({column})"


def _unwrapped(kind: str) -> str:
    while found := _WRAPPED.fullmatch(kind):
        kind = found[1]
    return kind
