"""The types that SQL may convert to, and that parameters may have."""

from typing import Final

from sqlglot import exp
from sqlglot.errors import SqlglotError

from services.sql.errors import Refused
from services.sql.text import identifier, string

_NAMES: Final = (
    *("Bool", "String", "UUID", "Date", "Date32", "DateTime", "DateTime64", "IPv4", "IPv6"),
    *("Int8", "Int16", "Int32", "Int64", "Int128", "Int256"),
    *("UInt8", "UInt16", "UInt32", "UInt64", "UInt128", "UInt256", "Float32", "Float64"),
    *("Decimal", "Decimal32", "Decimal64", "Decimal128", "Decimal256", "FixedString", "JSON"),
    *("Array", "Nullable", "LowCardinality", "Map", "Tuple", "Enum8", "Enum16"),
)
_COMPLETE: Final = {
    "Array": "Array(String)",
    "LowCardinality": "LowCardinality(String)",
    "Map": "Map(String, String)",
    "Tuple": "Tuple(String)",
    "FixedString": "FixedString(1)",
    "Decimal": "Decimal(9, 2)",
    "Enum8": "Enum8('a' = 1)",
    "Enum16": "Enum16('a' = 1)",
}
_KNOWN: Final = {
    exp.DataType.build(_COMPLETE.get(name, name), dialect="clickhouse").this: name
    for name in _NAMES
    if name != "Nullable"
}
_MAX_DEPTH: Final = 10
_MAX_CHARS: Final = 200


def type_names() -> tuple[str, ...]:
    """Return the names of the types that are accepted."""
    return _NAMES


def read_type(text: str) -> exp.DataType:
    """Parse a type that is given as text; raises `Refused` for what is none."""
    if len(text) > _MAX_CHARS:
        raise Refused(f"a type has {len(text)} characters; accepted are up to {_MAX_CHARS}")
    try:
        return exp.DataType.build(text, dialect="clickhouse")
    except (SqlglotError, ValueError, AttributeError, TypeError, IndexError, KeyError) as error:
        raise Refused(f"{text[:100]!r} is no type") from error


def type_sql(kind: exp.Expr, depth: int = 0) -> str:
    """Return a type as ClickHouse spells it.

    Raises:
        Refused: the type is not among those that are accepted.
    """
    if not isinstance(kind, exp.DataType) or depth > _MAX_DEPTH:
        raise Refused(f"the type {str(kind)[:100]} is not allowed")
    name = _KNOWN.get(kind.this)
    if name is None or kind.args.get("values"):
        raise Refused(f"the type {str(kind)[:100]} is not allowed; accepted are {_accepted()}")
    arguments = [_argument(name, one, depth + 1) for one in kind.expressions]
    printed = f"{name}({', '.join(arguments)})" if arguments else name
    return f"Nullable({printed})" if kind.args.get("nullable") else printed


def _argument(name: str, one: exp.Expr, depth: int) -> str:
    match one:
        case exp.DataType():
            return type_sql(one, depth)
        case exp.DataTypeParam(this=exp.Literal() as literal):
            return _literal(literal)
        case exp.ColumnDef(this=exp.Identifier() as field):
            return f"{identifier(field.name)} {type_sql(one.args['kind'], depth)}"
        case exp.EQ(this=exp.Literal() as key, expression=exp.Literal() as number) if (
            name.startswith("Enum") and key.is_string and not number.is_string
        ):
            return f"{_literal(key)} = {_literal(number)}"
    raise Refused(f"the type {name} does not take {str(one)[:100]}")


def _literal(literal: exp.Literal) -> str:
    if literal.is_string:
        return string(literal.this)
    if not (literal.this.isascii() and literal.this.isdigit()):
        raise Refused(f"{literal.this[:100]!r} is no whole number")
    return str(literal.this)


def _accepted() -> str:
    return ", ".join(_NAMES)
