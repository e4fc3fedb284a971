"""Schemas, values and the oracle that the tests of this folder share."""

import io
import json
from typing import Any

import fastavro
import pyarrow as pa
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from schemas.avro.files import load
from schemas.avro.schema import Schema

EVENT = load("event")

# How fast an example is drawn says nothing on a machine that others use too.
patient = hypothesis_settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def record(*fields: dict[str, Any], name: str = "Sample", **attributes: Any) -> Schema:
    return Schema(json.dumps({"type": "record", "name": name, "fields": fields} | attributes))


def changed(schema: Schema, *, add: list[dict[str, Any]], drop: set[str]) -> Schema:
    """The schema with fields added at the end and others dropped."""
    tree = json.loads(schema.text)
    tree["fields"] = [field for field in tree["fields"] if field["name"] not in drop] + add
    return Schema(json.dumps(tree))


# Everything that is read in bulk, nested too.
RICH = record(
    {"name": "flag", "type": "boolean"},
    {"name": "small", "type": "int"},
    {"name": "large", "type": "long"},
    {"name": "single", "type": "float"},
    {"name": "double", "type": ["double", "null"]},
    {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["a", "b", "c"]}},
    {"name": "list", "type": {"type": "array", "items": ["null", "long"]}},
    {"name": "map", "type": {"type": "map", "values": "string"}},
    {
        "name": "inner",
        "type": [
            "null",
            {
                "type": "record",
                "name": "Inner",
                "fields": [
                    {"name": "text", "type": "string"},
                    {"name": "again", "type": ["null", "Kind"]},
                ],
            },
        ],
    },
)

# What pyruhvro panics on, and so goes through fastavro.
BINARY = record(
    {"name": "bytes", "type": "bytes"},
    {"name": "fixed", "type": {"type": "fixed", "name": "Four", "size": 4}},
    {"name": "text", "type": ["null", "string"]},
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
longs = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, -1, 2**63 - 1, -(2**63)])
ints = st.integers(-(2**31), 2**31 - 1)


def values_of(tree: Any, schema: Schema) -> st.SearchStrategy[Any]:
    """Values of a schema without logical types."""
    if isinstance(tree, list):
        return st.one_of(*(values_of(branch, schema) for branch in tree))
    if isinstance(tree, str) and tree in schema.plain_named:
        return values_of(schema.plain_named[tree], schema)
    match tree if isinstance(tree, str) else tree["type"]:
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "int":
            return ints
        case "long":
            return longs
        case "float":
            return st.floats(width=32, allow_nan=False)
        case "double":
            return st.floats(allow_nan=False)
        case "string":
            return text
        case "bytes":
            return st.binary(max_size=8)
        case "fixed":
            return st.binary(min_size=tree["size"], max_size=tree["size"])
        case "enum":
            return st.sampled_from(tree["symbols"])
        case "array":
            return st.lists(values_of(tree["items"], schema), max_size=4)
        case "map":
            return st.dictionaries(text, values_of(tree["values"], schema), max_size=4)
        case "record":
            fields = {f["name"]: values_of(f["type"], schema) for f in tree["fields"]}
            return st.fixed_dictionaries(fields)
        case other:
            raise AssertionError(other)


def records_of(schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
    return values_of(schema.plain, schema)


def datum(schema: Schema, value: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema.plain, value)
    return out.getvalue()


def framed(schema_id: int, data: bytes) -> bytes:
    return b"\0" + schema_id.to_bytes(4) + data


def comparable(value: Any) -> str:
    """Rows as text: NaN equals itself, a map read as pairs equals a dict."""

    def plain(value: Any) -> Any:
        match value:
            case dict():
                return {key: plain(item) for key, item in sorted(value.items())}
            case [(str(), _), *_]:
                return plain(dict(value))
            case list():
                return [plain(item) for item in value] or {}
            case _:
                return value

    return repr(plain(value))


def rows_of(batch: pa.RecordBatch) -> list[str]:
    return [comparable(row) for row in batch.to_pylist()]
