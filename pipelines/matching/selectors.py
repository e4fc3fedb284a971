"""What a definition selects and reads of an event."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from schemas.conditions import Condition

# Among the properties that an operator reads: the event's name, which is no property.
EVENT_NAME = ""


class ObjectMember(NamedTuple):
    """What is read of an object among the properties: `plan` of `$set`. Its name is ASCII text."""

    object: str
    name: str


class ValueHash(NamedTuple):
    """Some properties, read as a number that is the same where their values are: `ValueHashes`.

    It is worked out once an event, however many definitions read it.
    """

    properties: tuple[str, ...]


PropertyRead: TypeAlias = str | ObjectMember | ValueHash  # what a definition may read of an event


class HasObject(NamedTuple):
    """A look at the events whose properties hold an object of this name, which is ASCII text.

    It is told by the text of the properties, which is not parsed for it: some that have no such
    object are looked at too, none that has one is passed over.
    """

    object: str
    event: str | None = None
    where: Sequence[Condition] = ()
