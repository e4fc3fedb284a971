"""Which events a definition asks for: by name and by conditions on their properties."""

from collections.abc import Sequence
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from schemas.conditions import MAX_CONDITIONS, Condition
from schemas.definitions import EventName


class EventSelector(Protocol):
    """What a definition asks of an event: its name, or None for any, and conditions."""

    @property
    def event(self) -> str | None:
        """The event's name."""

    @property
    def where(self) -> Sequence[Condition]:
        """What must hold of its properties."""


class EventFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An event by name, or any event if there is none, all of whose conditions hold."""

    event: EventName | None = None
    where: Annotated[tuple[Condition, ...], Meta(max_length=MAX_CONDITIONS)] = ()
