"""The labels of breakdowns: what they are of an event, and their numbers in a statement."""

import json
from collections.abc import Sequence
from typing import Final

from msgspec import UNSET

from schemas.queries.adhoc import CohortPersons, FunnelPersons
from schemas.queries.trends import BreakdownBy
from schemas.value_tokens import to_json, token
from services.query.clickhouse.conditions import Binder
from services.query.clickhouse.tree import Label, Member, PersonNow, PersonToken, Token

BreakdownValue = bool | int | float | str | None

# The numbers of labels: n is the n-th of those that are shown.
EVERY: Final = -1
OTHER: Final = 0


def label_of(by: BreakdownBy) -> Label:
    """Return what a breakdown labels events with."""
    if by.segment is not None:
        return Member(by.segment)
    if by.person is not None:
        return PersonNow(by.person) if by.at == "now" else PersonToken(by.person)
    assert by.property is not None, "a breakdown is by one of three"
    return Token(by.property)


def number_sql(token_sql: str, shown: Sequence[str], bind: Binder) -> str:
    """Return an expression for the number of a label (Int64) by its token."""
    if not shown:
        return f"toInt64({OTHER})"
    return f"toInt64(indexOf({bind(list(shown), 'Array(String)')}, {token_sql}))"


def value_of(shown: Sequence[str], number: int) -> BreakdownValue:
    """Return the value of a label; None for the others, and for one that is not set."""
    found = shown[number - 1] if number > OTHER else ""
    value: BreakdownValue = json.loads(to_json(found)) if found else None
    return value


def asked_label(
    asked: FunnelPersons | CohortPersons, shown: Sequence[str]
) -> tuple[Sequence[str], int]:
    """Return the labels among which persons are asked for, and the number of theirs."""
    if asked.value is not UNSET:
        return [token(asked.value)], 1
    return shown, OTHER if asked.other else EVERY
