"""What a definition selects of events, beside names and conditions, and what it reads of them."""

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from schemas.conditions import Condition

EVENT_NAME: Final = ""  # reads the event's name, as if it were a property


class ObjectMember(NamedTuple):
    """Reads a member of an object among the properties: `plan` of `$set`. `object` is ASCII."""

    object: str
    name: str


class ValueHash(NamedTuple):
    """Reads some properties as one number, which is equal if their values are: `ValueHashes`.

    It is computed once an event, however many definitions read it. `whole` says which values are
    equal: see `schemas.value_tokens`.
    """

    properties: tuple[str, ...]
    whole: bool = False


class EventIdHash(NamedTuple):
    """Reads a hash of the event's id, in the `numbers` of `ValueHashes`."""


# A property's name, or one of the above.
PropertyRead: TypeAlias = str | ObjectMember | ValueHash | EventIdHash


class HasObject(NamedTuple):
    """Selects events whose properties hold an object of this name, which is ASCII text.

    The text of the properties decides, without being parsed: all events that have such an object
    are selected, and some that have none.
    """

    object: str
    event: str | None = None
    where: Sequence[Condition] = ()
