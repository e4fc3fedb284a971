"""Events as the oracles see them, and which of them a definition asks for."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from tests.oracles.conditions import holds

Json = Mapping[str, Any]


class Event(NamedTuple):
    """What a person did at an instant (ms); a list of events is in the order of their arrival."""

    person: str
    event: str
    at: int
    properties: Json = MappingProxyType({})

    @property
    def text(self) -> str:
        """The properties as they are stored."""
        return json.dumps(dict(self.properties))


def selected(asked: Json, event: Event) -> bool:
    """Whether an event has the name that is asked for, if one is, and all its conditions hold."""
    named = asked.get("event") in {None, event.event}
    return named and holds(asked.get("where", ()), event.properties)
