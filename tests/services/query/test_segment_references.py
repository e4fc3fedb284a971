"""Who refers to whom, and what stands in the place of references."""

import pytest

from schemas.errors import InvalidRequest
from schemas.operators.segment import MAX_LEAVES, Performed, Rule
from services.query.operators.segment.references import References

LEAF = Rule(performed=Performed(event="a"))


def to(*names: str) -> Rule:
    return Rule(and_=tuple(Rule(segment=name) for name in names))


def test_a_rule_takes_over_those_it_refers_to_and_what_they_do() -> None:
    references = References({"a": to("b"), "b": to("c", "c"), "c": LEAF})
    assert references.resolved("a") == Rule(and_=(Rule(and_=(LEAF, LEAF)),))
    assert references.resolved("c") == LEAF


def test_users_are_found_also_through_others() -> None:
    references = References({"a": to("b"), "b": to("c"), "c": LEAF, "d": to("c", "b"), "e": LEAF})
    assert references.users("c") == ["b", "d"]
    assert sorted(references.all_users("c")) == ["a", "b", "d"]
    assert references.all_users("e") == []


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"a": to("a")}, "circle: a → a"),
        ({"a": to("b"), "b": to("c"), "c": to("a")}, "circle: a → b → c → a"),
        ({"a": to("b"), "b": to("c"), "c": to("b")}, "circle: b → c → b"),
        ({"a": to("b")}, "no segment b"),
    ],
)
def test_what_leads_nowhere_is_refused_by_name(rules: dict[str, Rule], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        References(rules).resolved("a")
    assert caught.value.field == "rule.and[0].segment"


def test_rules_that_grow_by_their_references_are_bounded() -> None:
    rules = {f"s{n}": to(*[f"s{n + 1}"] * MAX_LEAVES) for n in range(7)} | {"s7": LEAF}
    with pytest.raises(InvalidRequest, match="included"):
        References(rules).resolved("s0")
    assert References(rules).resolved("s6")
