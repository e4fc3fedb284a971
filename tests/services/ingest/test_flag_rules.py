"""The decisions about flags: who is in a share, which variant, and who is in a set of members."""

import random
from collections import Counter
from typing import Any

import hypothesis
import msgspec
import posthog.feature_flags as theirs
import pytest
from hypothesis import strategies as st

from schemas.flags import FlagDefinition, bucket, decode_flag
from services.ingest.flags.member_set import MemberSet
from services.ingest.flags.rules import Rule

PERSONS = [f"person {number}" for number in range(4_000)]


def rule(**body: Any) -> Rule:
    flag = decode_flag(msgspec.json.encode({"key": "f"} | body))
    numbers: dict[str, Any] = {"version": 1, "created_at": 1, "updated_at": 1}
    return Rule(FlagDefinition(project_id="p", id="f", flag=flag, **numbers))


def value(of: Rule, person: str) -> bool | str:
    outcome = of.decide(person, True)
    assert outcome is not None
    return outcome.value


def test_buckets_never_change() -> None:
    assert bucket("new-checkout", "ann") == 0.23867911208917975
    assert bucket("new-checkout", "jörg") == 0.7557073915524208
    assert bucket("new-checkout", "ann", "variant") == 0.5258628272751446


def test_persons_keep_the_variants_that_they_have_with_posthog() -> None:
    weights = {"red": 20, "green": 0, "blue": 30.5, "none": 49.5}
    variants = [{"key": key, "rollout_percentage": one} for key, one in weights.items()]
    flag = {"key": "f", "filters": {"multivariate": {"variants": variants}}}
    ours = rule(
        variants=[{"key": key, "weight": one} for key, one in weights.items()],
        rollout_percentage=33,
    )
    matching_variant: Any = theirs.get_matching_variant  # it has no types
    for person in PERSONS:
        expected = False
        if theirs._hash("f", person) <= 33 / 100:
            expected = matching_variant(flag, person)
        assert value(ours, person) == expected


def test_shares_and_weights_are_kept() -> None:
    counts = Counter(
        value(
            rule(
                variants=[{"key": "a"}, {"key": "b", "weight": 3}],
                rollout_percentage=50,
            ),
            person,
        )
        for person in PERSONS
    )
    assert abs(counts[False] - 2_000) < 150
    assert abs(counts["b"] - 3 * counts["a"]) < 250


def test_more_percent_take_nobody_out() -> None:
    small, large = rule(rollout_percentage=20), rule(rollout_percentage=60)
    assert all(value(large, person) for person in PERSONS if value(small, person))


def test_a_membership_that_is_not_known_matters_only_inside_of_the_share() -> None:
    assert rule(rollout_percentage=0).decide("ann", None) is not None
    assert rule().decide("ann", None) is None
    outside = rule().decide("ann", False)
    assert outside is not None
    assert outside.value is False


@pytest.mark.parametrize("moves", [2_000, 60_000])
def test_a_set_of_members_is_a_set(moves: int) -> None:
    chance = random.Random(moves)
    found = MemberSet()
    expected: set[int] = set()
    while moves > 0:
        changes = {
            chance.randrange(1 << 40) if chance.random() < 0.8 else chance.randrange(2_000): (
                chance.random() < 0.7
            )
            for _ in range(2_000)
        }
        merged = found.merged(changes)
        if merged is None:
            found.apply(changes)
        else:
            found.replace(merged)
        for one, is_member in changes.items():
            (expected.add if is_member else expected.discard)(one)
        assert len(found) == len(expected)
        moves -= len(changes)
    assert all(one in found for one in expected)
    assert [one for one in range(2_000) if one in found] == sorted(
        one for one in expected if one < 2_000
    )
    assert (1 << 64) - 1 not in found


@hypothesis.given(st.lists(st.tuples(st.integers(0, (1 << 64) - 1), st.booleans())))
def test_a_set_of_members_holds_any_64_bits(moves: list[tuple[int, bool]]) -> None:
    found = MemberSet()
    expected: set[int] = set()
    for one, is_member in moves:
        found.apply({one: is_member})
        (expected.add if is_member else expected.discard)(one)
    assert len(found) == len(expected)
    assert all((one in found) == (one in expected) for one, _ in moves)
