"""Filters on events: by name and by conditions on their properties."""

from collections.abc import Sequence
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from schemas.conditions import MAX_CONDITIONS, Condition
from schemas.definitions import EventName


class EventSelector(Protocol):
    """Anything that selects events by name (None for any) and by conditions."""

    @property
    def event(self) -> str | None:
        """The name of the event."""

    @property
    def where(self) -> Sequence[Condition]:
        """The conditions on its properties, all of which must hold."""


class EventFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Events of a name, or of any name without one, for which all conditions hold."""

    event: EventName | None = None
    where: Annotated[tuple[Condition, ...], Meta(max_length=MAX_CONDITIONS)] = ()
