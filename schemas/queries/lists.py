"""Queries that list what there is: events, persons, properties and their values."""

from typing import Annotated, Final, Literal

from msgspec import Meta

from schemas.conditions import PropertyName
from schemas.definitions import EventName, Text
from schemas.errors import InvalidRequest
from schemas.queries.query import Query, query_spec

MAX_LIMIT: Final = 1_000
# How many events are looked at for the names of properties.
MAX_SAMPLED: Final = 100_000

Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT)]
PersonId = Annotated[str, Meta(min_length=1, max_length=1_000)]
Cursor = Annotated[str, Meta(max_length=1_100)]
Holder = Literal["event", "person"]


class EventsQuery(Query, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Events, the newest first; those of one name or one person, if `event` or `person` is set.

    Without `from` and `to` they are those of all time. `after` is the `next` of the page before.
    """

    event: EventName | None = None
    person: PersonId | None = None
    limit: Limit = 50
    after: Cursor = ""


class PersonsQuery(
    Query, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """Persons with an event that passes `where`, by id; `search` is a part of their ids.

    Without `from` and `to` the events are those of all time. `after` is the `next` of the page
    before.
    """

    search: Text = ""
    limit: Limit = 50
    after: Cursor = ""


class PersonQuery(Query, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One person: the properties and segments that the person has now, and the newest events.

    `where`, `from` and `to` select the events; `after` is the `next` of the page before.
    """

    person: PersonId
    limit: Limit = 50
    after: Cursor = ""


class PropertiesQuery(
    Query, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """Names of properties, by how many of the newest events have them.

    They are those of events, or with `of` `person`, those that events set of their persons. At most
    100,000 events of the range are looked at. `search` is a part of the names, in any case of its
    letters.
    """

    of: Holder = "event"
    event: EventName | None = None
    search: Text = ""
    limit: Limit = 50


class ValuesQuery(Query, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Values of a property, by how many events have them; names of events, without a property.

    `property` is one of the event, `person` one that the event's person has now. `search` is a part
    of the values that are text, in any case of its letters.
    """

    property: PropertyName | None = None
    person: PropertyName | None = None
    event: EventName | None = None
    search: Text = ""
    limit: Limit = 50

    def check(self) -> None:
        """Refuse what the types alone accept; raises `InvalidRequest`."""
        super().check()
        if self.property is not None and self.person is not None:
            raise InvalidRequest("must not be set together with `property`", "person")


EVENTS: Final = query_spec("events", EventsQuery, "Events, the newest first")
PERSONS: Final = query_spec("persons", PersonsQuery, "Persons, by id")
PERSON: Final = query_spec("person", PersonQuery, "One person, with the newest events")
PROPERTIES: Final = query_spec("properties", PropertiesQuery, "Names of properties, with counts")
VALUES: Final = query_spec("values", ValuesQuery, "Values of a property, with counts")
