"""Who the person of an event is: one expression, in this place only."""

from typing import Final

# A column of the events table, as it is stored. Queries name the person by this expression only.
PERSON_SQL: Final = "person_id"
