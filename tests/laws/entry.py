"""What an operator says of itself, for the laws to be about it.

A module `tests.laws.<kind>` has an `ENTRY`. Its strategies draw definitions as users write them and
events; what is published, what ClickHouse answers and what the oracle works out from the definition
are compared as they are, so all three are brought to the shape of the oracle's figures.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from hypothesis import strategies as st

from schemas.definitions import Definition
from tests.laws.driver import Published
from tests.oracles.events import Event, Json
from tests.warehouse import Warehouse

DAY_MS = 86_400_000
NOON = 20_000 * DAY_MS + DAY_MS // 2
EVER_MS = 10_000 * DAY_MS  # a lateness that lets everything in
PERSONS = ["ann", "ben", "cem"]
ZONES = [
    "UTC",
    "Europe/Lisbon",
    "America/Sao_Paulo",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Australia/Lord_Howe",  # half an hour more in summer
    "America/Asuncion",  # where summer time has begun at midnight
]
LONG = "x" * 200
# Equal and unequal values, some of which are equal as doubles, or to the 200th character.
VALUES = [None, "a", "b", 1, 1.0, True, 2**60 + 1, 2**60 + 2, LONG, f"{LONG}y", f"{LONG}z"]
WEEK_STARTS = ["monday", "sunday"]


class Case(NamedTuple):
    """A definition's body, and events none of which comes later than the lateness."""

    body: dict[str, Any]
    events: list[Event]
    lateness_ms: int = EVER_MS


@dataclass(frozen=True)
class Entry:
    """The laws' subject.

    Attributes:
        body: a small definition over the events `home` and `cart`, as a request gives it; one that
            keeps rows of persons if the operator can.
        changed: a definition that counts something else than `body`.
        variants: cases, of each way of counting that the operator has, by its name.
        oracle: the figures of a definition, of events in order of arrival and at an instant (ms).
        read: the same of what one partition has published.
        in_store: the same of a definition whose project's events are in the store.
        changes: what consumers of the operator's changes of persons know in the end, if it has any;
            fails if changes contradict each other.
        oracle_of_changes: the same by definition.
        more: fields of a definition's record beside its body, from that.
        wait_ms: for how long to let time pass without events, where that alone changes figures.
    """

    body: dict[str, Any]
    changed: dict[str, Any]
    variants: Mapping[str, st.SearchStrategy[Case]]
    oracle: Callable[[Json, Sequence[Event], int], Any]
    read: Callable[[Json, Published, int], Any]
    in_store: Callable[[Warehouse, Definition, int], Any]
    changes: Callable[[Published], Any] | None = None
    oracle_of_changes: Callable[[Json, Sequence[Event], int], Any] | None = None
    more: Callable[[Json], Json] = lambda _: {}
    wait_ms: tuple[int, ...] = ()


@cache
def entry_of(kind: str) -> Entry:
    """What an operator says of itself for the laws.

    Raises:
        ModuleNotFoundError: it has no module `tests.laws.<kind>`.
    """
    entry = importlib.import_module(f"tests.laws.{kind}").ENTRY
    assert isinstance(entry, Entry)
    return entry
