"""The kinds of definitions that files may have: all operators, plans, flags and dashboards."""

from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

import msgspec

from schemas.dashboards import Dashboard, decode_dashboard
from schemas.errors import InvalidRequest
from schemas.flags import Flag, decode_flag
from schemas.operators import OPERATORS
from schemas.operators.cohort import Cohort, decode_cohort
from schemas.operators.funnel import Funnel, decode_funnel
from schemas.operators.metric import Metric, decode_metric
from schemas.operators.prediction import Prediction, decode_prediction
from schemas.operators.segment import Segment, decode_segment
from schemas.plans import Plan, decode_plan

# Fields of what the service shows that say nothing of what is defined.
_SHOWN: Final = ("id", "revision", "version", "created_at", "updated_at")
_OF_PROJECT: Final = ("timezone", "week_start")


class Kind(NamedTuple):
    """A kind of definition: where the API has it, and how its bodies are decoded.

    `body` is the type of a body, and `decode` raises `InvalidRequest` for what is none.
    `create` is the method that creates one: `POST` to the list, or `PUT` to the address of its own.
    """

    name: str
    plural: str
    body: type[msgspec.Struct]
    decode: Callable[[bytes], msgspec.Struct]
    create: Literal["POST", "PUT"]

    def read(self, fields: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
        """Return all fields of a body, with the defaults and those of the project's settings.

        Raises:
            InvalidRequest: it is none; names the field.
        """
        own = {name: value for name, value in fields.items() if name not in _SHOWN}
        names = self._names()
        of_project = {
            name: settings[name] for name in _OF_PROJECT if name in names and name in settings
        }
        decoded = self.decode(msgspec.json.encode({**of_project, **own}))
        return self._all_fields(decoded)

    def shown(self, definition: dict[str, Any]) -> dict[str, Any]:
        """Return all fields of the body of a definition, as the service shows it."""
        names = self._names() - set(_SHOWN)
        body = {name: value for name, value in definition.items() if name in names}
        return self._all_fields(self.decode(msgspec.json.encode(body)))

    def _names(self) -> set[str]:
        return {field.encode_name for field in msgspec.structs.fields(self.body)}

    def _all_fields(self, body: msgspec.Struct) -> dict[str, Any]:
        return {
            field.encode_name: msgspec.to_builtins(getattr(body, field.name))
            for field in msgspec.structs.fields(self.body)
        }


_BODIES: Final[dict[str, tuple[type[msgspec.Struct], Callable[[bytes], msgspec.Struct]]]] = {
    "funnel": (Funnel, decode_funnel),
    "cohort": (Cohort, decode_cohort),
    "segment": (Segment, decode_segment),
    "metric": (Metric, decode_metric),
    "prediction": (Prediction, decode_prediction),
}
# What others refer to comes first; an operator without its body here fails at once.
KINDS: Final[dict[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind("plan", "plans", Plan, decode_plan, "PUT"),
        *(Kind(one.name, one.plural, *_BODIES[one.name], "POST") for one in OPERATORS),
        Kind("flag", "flags", Flag, decode_flag, "POST"),
        Kind("dashboard", "dashboards", Dashboard, decode_dashboard, "PUT"),
    )
}


def kind_of(fields: dict[str, Any]) -> Kind:
    """Return the kind that a document names.

    Raises:
        InvalidRequest: it names none; says which there are.
    """
    name = fields.get("kind")
    found = KINDS.get(name) if isinstance(name, str) else None
    if found is None:
        raise InvalidRequest(f"accepted are {', '.join(f'`{one}`' for one in KINDS)}", "kind")
    return found
