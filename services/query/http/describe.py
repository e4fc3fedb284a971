"""The pieces that operations are described with, as OpenAPI 3.1 has them.

A description is binding: the parameters that an operation names are those that its endpoint accepts
(`services.query.http.routes`).
"""

from typing import Any, Final, TypeAlias

import msgspec

from services.errors import ErrorBody
from services.query.http.params import DEFAULT_PAGE, MAX_PAGE

# A JSON object of the OpenAPI specification, whose shape that specification defines.
Json: TypeAlias = dict[str, Any]

ID_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
DAY: Final[Json] = {"type": "string", "format": "date"}
TIME: Final[Json] = {
    "type": "string",
    "description": "A date (its beginning, UTC) or a date and time.",
}


def operation(
    name: str,
    summary: str,
    responses: Json,
    *errors: int,
    parameters: tuple[Json, ...] = (),
    body: str = "",
) -> Json:
    """Describe an operation; `errors` are the statuses it fails with, besides 401, 403 and 503.

    `body` is the schema of the request's body, if it has one.
    """
    failures = {str(status): json_response(ErrorBody) for status in errors}
    retry_after = {"Retry-After": {"schema": {"type": "integer"}}}
    challenge = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    described: Json = {
        "operationId": name,
        "summary": summary,
        "responses": responses
        | failures
        | {
            "400": json_response(ErrorBody),
            "401": json_response(ErrorBody) | {"headers": challenge},
            "403": json_response(ErrorBody),
            "503": json_response(ErrorBody) | {"headers": retry_after},
        },
    }
    if parameters:
        described["parameters"] = list(parameters)
    if body:
        content = {"application/json": {"schema": reference(body)}}
        described["requestBody"] = {"required": True, "content": content}
    return described


def public_operation(name: str, summary: str, responses: Json) -> Json:
    """Describe an operation that asks for no token."""
    return {
        "operationId": name,
        "summary": summary,
        "responses": responses | {"400": json_response(ErrorBody)},
        "security": [],
    }


def query_parameters(described: Json) -> tuple[str, ...]:
    """Return the names of the query parameters that an operation accepts."""
    return tuple(one["name"] for one in described.get("parameters", ()) if one["in"] == "query")


def reference(name: str) -> Json:
    """Refer to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def json_response(body: type[msgspec.Struct]) -> Json:
    """Describe a response in JSON."""
    return content_response("application/json", reference(body.__name__), body.__name__)


def content_response(media_type: str, schema: Json, description: str = "") -> Json:
    """Describe a response of any media type."""
    described = description or media_type
    return {"description": described, "content": {media_type: {"schema": schema}}}


def tagged_response(body: type[msgspec.Struct]) -> Json:
    """Describe a response that is one definition, with its revision as the `ETag`."""
    tag = {"description": "The revision, in quotes.", "schema": {"type": "string"}}
    return json_response(body) | {"headers": {"ETag": tag}}


def path_parameter(name: str) -> Json:
    """Describe a part of the path: an id of ours, or of a person, which is any text."""
    schema = {"type": "string"} | ({} if name == "person" else {"pattern": ID_PATTERN})
    return {"name": name, "in": "path", "required": True, "schema": schema}


def parameter(name: str, schema: Json, description: str, *, required: bool = False) -> Json:
    """Describe a query parameter."""
    described = {"name": name, "in": "query", "description": description, "schema": schema}
    return described | ({"required": True} if required else {})


def choice(name: str, choices: tuple[str, ...], description: str) -> Json:
    """Describe a query parameter that is one of `choices`, the first by default."""
    return parameter(name, {"enum": list(choices), "default": choices[0]}, description)


def number(name: str, description: str, least: int, **more: int) -> Json:
    """Describe a query parameter that is a whole number."""
    return parameter(name, {"type": "integer", "minimum": least, **more}, description)


def decimal(name: str, description: str) -> Json:
    """Describe a query parameter that is a number, which may have a fraction."""
    return parameter(name, {"type": "number"}, description)


def page_parameters(what: str) -> tuple[Json, ...]:
    """Describe the parameters of a list that comes in pages."""
    return (
        number("limit", "The most to return.", 1, maximum=MAX_PAGE, default=DEFAULT_PAGE),
        parameter("after", {"type": "string"}, f"Only {what} whose ids come after this one."),
    )


def day_parameters(what: str, note: str) -> tuple[Json, ...]:
    """Describe the parameters that select days."""
    return (
        parameter("from", DAY, f"The earliest {what}; {note}."),
        parameter("to", DAY, f"The latest {what}."),
    )


SOURCE: Final = choice(
    "source",
    ("stream", "store"),
    "`stream`: the results of the stream. `store`: counted now, in ClickHouse.",
)
AS_OF: Final = parameter(
    "as_of",
    {"type": "string"},
    "Count exactly the events below these positions, in ClickHouse: `positions` of an earlier "
    "answer, as `0:120,1:98` or as the answer has them; or a time, which means the events that "
    "were appended to the event store before it.",
)
CLOCK: Final = parameter(
    "clock",
    TIME,
    "With `as_of`, the time as of which to count: the `clock` of an earlier answer. By default "
    "that of the project's newest event among those.",
)
IF_MATCH: Final[Json] = {
    "name": "If-Match",
    "in": "header",
    "description": "Refuse the change unless this is the current revision, in quotes.",
    "schema": {"type": "string"},
}
