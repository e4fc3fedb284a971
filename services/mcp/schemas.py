"""JSON Schemas of the arguments of tools, derived from the types that requests are decoded with."""

import inspect
from typing import Any, Final, TypeAlias

import msgspec

from schemas.queries import QuerySpec

# A JSON Schema, whose shape that specification defines.
Schema: TypeAlias = dict[str, Any]

PROJECT: Final[Schema] = {
    "type": "string",
    "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
    "description": "The project's id.",
}


def schema_of(arguments: type[msgspec.Struct], default_project: str) -> Schema:
    """Return the schema of a tool's own arguments, and of the project."""
    return _with_project(_self_contained(arguments), default_project)


# Of any query: the spec says which.
def query_schema(spec: QuerySpec[Any], default_project: str) -> Schema:
    """Return the schema of a kind of query, and of the project."""
    return _with_project(_self_contained(spec.request), default_project)


def _self_contained(of: type[msgspec.Struct]) -> Schema:
    _, parts = msgspec.json.schema_components([of], ref_template="#/$defs/{name}")
    for part in parts.values():
        if "description" in part:
            part["description"] = inspect.cleandoc(part["description"])
    own: Schema = parts.pop(of.__name__)
    return own | ({"$defs": parts} if parts else {})


def _with_project(schema: Schema, default_project: str) -> Schema:
    project = PROJECT | ({"default": default_project} if default_project else {})
    required = [*([] if default_project else ["project"]), *schema.get("required", ())]
    return schema | {
        "properties": {"project": project, **schema["properties"]},
        "required": required,
        "additionalProperties": False,
    }
