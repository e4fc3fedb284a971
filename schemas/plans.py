"""Tracking plans: what the properties of an event have to be, as JSON Schema (draft 2020-12).

A plan is a definition of its own: `project/plan/<id>` on the definitions topic. Its id is the
writer's to choose, as a funnel's is; the event's name, which may hold any characters, stands inside
the plan. A project has one plan for an event at most: whoever writes plans sees to it.

A schema is refused if checking an event against it could take long: references that leave it or
lead back to themselves, more than `MAX_RULES` rules once every reference is followed, and patterns
that cannot be matched in a time that grows with the text alone (look-around, back-references).
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
# Of a compiled pattern: some thousands of states, and as much for what they are cached in.
_MAX_PATTERN_BYTES: Final = 1 << 18
_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"

Mode = Literal["observe", "enforce"]


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the properties of one event have to be.

    `observe`: an event that is not so is taken, with a warning. `enforce`: it is dropped.
    """

    event: EventName
    schema: dict[str, Any]
    mode: Mode = "observe"


class PlanDefinition(Definition, frozen=True, kw_only=True):
    """A plan as it stands on the definitions topic."""

    KIND = "plan"

    plan: Plan


class Checker:
    """A plan's schema, compiled. Safe to use from any thread, and quick: under a microsecond.

    Raises:
        InvalidRequest: the schema is none, or is refused; names the field of the plan.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        if len(msgspec.json.encode(schema)) > MAX_SCHEMA_BYTES:
            raise InvalidRequest(f"has more than {MAX_SCHEMA_BYTES} bytes", "schema")
        _Rules(schema).count()
        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                schema,
                # A linear engine: what it cannot match in linear time it does not compile.
                pattern_options=jsonschema_rs.RegexOptions(_MAX_PATTERN_BYTES, _MAX_PATTERN_BYTES),
                validate_formats=True,
                ignore_unknown_formats=False,
                mask="the value",  # what people sent is not for messages and logs
                offline=True,
            )
        except jsonschema_rs.ValidationError as error:
            raise InvalidRequest(_complaint(error), _path("schema", error.instance_path)) from None

    def fault(self, properties: object) -> InvalidRequest | None:
        """The first thing that is wrong with `properties`, and where; None if nothing is."""
        if self._validator.is_valid(properties):
            return None
        error = next(self._validator.iter_errors(properties))
        path = _path("properties", error.instance_path)
        if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Required):
            return InvalidRequest("is missing; it is required", f"{path}.{error.kind.property}")
        return InvalidRequest(_short(error.message), path)


class _Rules:
    """Walks a schema, rule by rule, before it is given to whoever recurses into it."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._counts: dict[str, int] = {}
        self._under_way: set[str] = set()

    def count(self) -> None:
        """Raise `InvalidRequest` if there are too many rules, or some of the wrong kind."""
        if self._schema.get("$schema", _DRAFT) not in (_DRAFT, f"{_DRAFT}#"):
            raise InvalidRequest(f"accepted is {_DRAFT}", "schema.$schema")
        _demand_shallow(self._schema)
        if self._rules(self._schema, "schema") > MAX_RULES:
            raise InvalidRequest(
                f"has more than {MAX_RULES} rules once its references are followed", "schema"
            )

    def _rules(self, rule: Any, path: str) -> int:
        if not isinstance(rule, dict):
            return 1
        for name in _REFUSED & rule.keys():
            raise InvalidRequest(
                "is not accepted; refer with $ref inside the schema", f"{path}.{name}"
            )
        count = 1 + sum(self._rules(inner, inside) for inner, inside in _inner(rule, path))
        if isinstance(reference := rule.get("$ref"), str):
            count += self._referred(reference, f"{path}.$ref")
        return count

    def _referred(self, reference: str, path: str) -> int:
        if reference in self._under_way:
            raise InvalidRequest("leads back to itself", path)
        if reference not in self._counts:
            self._under_way.add(reference)
            place = ".".join(["schema", *reference[2:].split("/")])
            self._counts[reference] = self._rules(self._target(reference, path), place)
            self._under_way.discard(reference)
        return self._counts[reference]

    def _target(self, reference: str, path: str) -> Any:
        if not (reference == "#" or reference.startswith("#/")) or "%" in reference:
            raise InvalidRequest("accepted is a place in this schema, such as #/$defs/name", path)
        if reference == "#":
            raise InvalidRequest("leads back to itself", path)
        found: Any = self._schema
        for part in reference[2:].split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(name)] if isinstance(found, list) else found[name]
            except (LookupError, TypeError, ValueError):
                raise InvalidRequest("leads nowhere", path) from None
        return found


# Names that make a reference's meaning depend on where it is used from.
_REFUSED: Final = {
    "$id",
    "$anchor",
    "$dynamicAnchor",
    "$dynamicRef",
    "$recursiveRef",
    "$vocabulary",
}
# Of this draft and of those before it, since a validator may still know those.
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
    """The rules inside a rule. What has the wrong type is left for the validator to refuse."""
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


def _demand_shallow(tree: object) -> None:
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
        raise InvalidRequest(f"is nested more than {_MAX_DEPTH} levels deep", "schema")


def decode_plan(body: bytes) -> Plan:
    """Read a plan from a request body, and try it.

    Raises:
        InvalidRequest: names the field and what is accepted.
    """
    plan = read_request(_plan_decoder, body)
    Checker(plan.schema)
    return plan


def encode(definition: PlanDefinition) -> bytes:
    """Encode a definition as it stands on its topic."""
    return msgspec.json.encode(definition)


def decode(value: bytes) -> PlanDefinition:
    """Read a definition from its topic; raises `msgspec.DecodeError` if it is not one."""
    return decode_with(_definition_decoder, value)


_plan_decoder = msgspec.json.Decoder(Plan)
_definition_decoder = msgspec.json.Decoder(PlanDefinition)


def _path(root: str, parts: list[str | int]) -> str:
    path = root
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return _short(path)


def _complaint(error: jsonschema_rs.ValidationError) -> str:
    if error.message.endswith('is not a "regex"'):
        return (
            "is not a pattern that can be matched in linear time; accepted are regular expressions "
            f"without look-around and back-references that compile to {_MAX_PATTERN_BYTES} bytes"
        )
    return _short(error.message)


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]}…"
