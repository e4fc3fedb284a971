"""Tracking plans: JSON Schemas (draft 2020-12) for the properties of events.

A plan is a definition, `project/plan/<id>` on the definitions topic. Its user chooses the id, as
for other definitions; the plan itself names the event, whose name may have any characters. Writers
of plans ensure that a project has at most one plan for an event.

A schema is refused if checking an event against it could take long: if it has references to other
documents or cyclic ones, more than `MAX_RULES` rules once all references are followed, or patterns
that cannot be matched in linear time (look-around, back-references).
"""

from collections.abc import Iterator
from typing import Any, Final, Literal

import jsonschema_rs
import msgspec

from schemas.definitions import Definition, EventName, decode_with, read_request
from schemas.errors import InvalidRequest

MAX_PLANS_PER_PROJECT: Final = 500
MAX_SCHEMA_BYTES: Final = 32_768
MAX_RULES: Final = 1_000
_MAX_DEPTH: Final = 64
# Of a compiled pattern, which allows some thousands of states, and of its cache.
_MAX_PATTERN_BYTES: Final = 1 << 18
_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"

Mode = Literal["observe", "enforce"]


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The schema that the properties of one event must satisfy.

    `observe`: an event that does not satisfy it is accepted with a warning. `enforce`: it is
    dropped.
    """

    event: EventName
    schema: dict[str, Any]
    mode: Mode = "observe"


class PlanDefinition(Definition, frozen=True, kw_only=True):
    """A plan on the definitions topic."""

    KIND = "plan"

    plan: Plan


class Checker:
    """The compiled schema of a plan. Thread-safe; a check takes less than a microsecond.

    Raises:
        InvalidRequest: the schema is invalid, or is refused; names the field of the plan.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        if len(msgspec.json.encode(schema)) > MAX_SCHEMA_BYTES:
            raise InvalidRequest(f"must have at most {MAX_SCHEMA_BYTES} bytes", "schema")
        _Rules(schema).check()
        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                schema,
                # This engine does not compile what it cannot match in linear time.
                pattern_options=jsonschema_rs.RegexOptions(_MAX_PATTERN_BYTES, _MAX_PATTERN_BYTES),
                validate_formats=True,
                ignore_unknown_formats=False,
                mask="the value",  # messages and logs must not contain what was sent
                offline=True,
            )
        except jsonschema_rs.ValidationError as error:
            raise InvalidRequest(_reason(error), _path("schema", error.instance_path)) from None

    def fault(self, properties: object) -> InvalidRequest | None:
        """Return the first violation in `properties`, with its path; None if there is none."""
        if self._validator.is_valid(properties):
            return None
        error = next(self._validator.iter_errors(properties))
        path = _path("properties", error.instance_path)
        if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Required):
            return InvalidRequest("is missing; it is required", f"{path}.{error.kind.property}")
        return InvalidRequest(_short(error.message), path)


class _Rules:
    """Walks a schema and counts its rules, before the validator recurses into it."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._counts: dict[str, int] = {}
        self._open: set[str] = set()

    def check(self) -> None:
        """Raise `InvalidRequest` if there are too many rules, or rules that are refused."""
        if self._schema.get("$schema", _DRAFT) not in (_DRAFT, f"{_DRAFT}#"):
            raise InvalidRequest(f"must be {_DRAFT}", "schema.$schema")
        _check_depth(self._schema)
        if self._rules(self._schema, "schema") > MAX_RULES:
            raise InvalidRequest(
                f"must have at most {MAX_RULES} rules once its references are followed", "schema"
            )

    def _rules(self, rule: Any, path: str) -> int:
        if not isinstance(rule, dict):
            return 1
        for name in _REFUSED & rule.keys():
            raise InvalidRequest(
                "must not be used; refer with $ref inside the schema", f"{path}.{name}"
            )
        count = 1 + sum(self._rules(inner, inside) for inner, inside in _inner(rule, path))
        if isinstance(reference := rule.get("$ref"), str):
            count += self._referred(reference, f"{path}.$ref")
        return count

    def _referred(self, reference: str, path: str) -> int:
        if reference in self._open:
            raise InvalidRequest("must not lead back to itself", path)
        if reference not in self._counts:
            self._open.add(reference)
            place = ".".join(["schema", *reference[2:].split("/")])
            self._counts[reference] = self._rules(self._target(reference, path), place)
            self._open.discard(reference)
        return self._counts[reference]

    def _target(self, reference: str, path: str) -> Any:
        if not (reference == "#" or reference.startswith("#/")) or "%" in reference:
            raise InvalidRequest("must be a place in this schema, such as #/$defs/name", path)
        if reference == "#":
            raise InvalidRequest("must not lead back to itself", path)
        found: Any = self._schema
        for part in reference[2:].split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(name)] if isinstance(found, list) else found[name]
            except (LookupError, TypeError, ValueError):
                raise InvalidRequest("must lead to a place in the schema", path) from None
        return found


# Keywords that make the target of a reference depend on where it is used.
_REFUSED: Final = {
    "$id",
    "$anchor",
    "$dynamicAnchor",
    "$dynamicRef",
    "$recursiveRef",
    "$vocabulary",
}
# Keywords with subschemas, in this draft and in earlier ones, which a validator may accept.
_BY_NAME: Final = {
    "properties",
    "patternProperties",
    "dependentSchemas",
    "dependencies",
    "$defs",
    "definitions",
}
_LISTS: Final = {"allOf", "anyOf", "oneOf", "prefixItems", "items"}
_SINGLE: Final = {
    "not",
    "if",
    "then",
    "else",
    "items",
    "contains",
    "additionalItems",
    "additionalProperties",
    "contentSchema",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
}


def _inner(rule: dict[str, Any], path: str) -> Iterator[tuple[Any, str]]:
    """Yield the rules inside a rule; the validator refuses values of wrong types."""
    for keyword, value in rule.items():
        inside = f"{path}.{keyword}"
        if keyword in _BY_NAME and isinstance(value, dict):
            for name, inner in value.items():
                yield inner, f"{inside}.{name}"
        elif keyword in _SINGLE and not isinstance(value, list):
            yield value, inside
        elif keyword in _LISTS and isinstance(value, list):
            for place, inner in enumerate(value):
                yield inner, f"{inside}[{place}]"


def _check_depth(tree: object) -> None:
    level = [tree]
    for _ in range(_MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += value.values()
            elif isinstance(value, list):
                below += value
        level = below
    if level:
        raise InvalidRequest(f"must be nested at most {_MAX_DEPTH} levels deep", "schema")


def decode_plan(body: bytes) -> Plan:
    """Decode a plan from a request body, and compile its schema.

    Raises:
        InvalidRequest: names the field and what is accepted.
    """
    plan = read_request(_plan_decoder, body)
    Checker(plan.schema)
    return plan


def encode(definition: PlanDefinition) -> bytes:
    """Encode a definition as a record of the definitions topic."""
    return msgspec.json.encode(definition)


def decode(value: bytes) -> PlanDefinition:
    """Decode a record of the definitions topic.

    Raises:
        msgspec.DecodeError: it is not a plan.
    """
    return decode_with(_definition_decoder, value)


_plan_decoder = msgspec.json.Decoder(Plan)
_definition_decoder = msgspec.json.Decoder(PlanDefinition)


def _path(root: str, parts: list[str | int]) -> str:
    path = root
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return _short(path)


def _reason(error: jsonschema_rs.ValidationError) -> str:
    if error.message.endswith('is not a "regex"'):
        return (
            "must be a regular expression that can be matched in linear time: without look-around "
            f"and back-references, and compiled of at most {_MAX_PATTERN_BYTES} bytes"
        )
    return _short(error.message)


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]}…"
