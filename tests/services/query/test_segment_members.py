"""The view of members says what the records on the topic say."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import Unavailable
from schemas.operators.segment import Performed, Rule, Segment, SegmentDefinition
from services.query.operators.segment.members import Members, Membership
from services.query.views.reader import Update, VersionKey


def define(name: str, version: int = 1) -> SegmentDefinition:
    return SegmentDefinition(
        project_id="shop",
        id=name,
        version=version,
        created_at=0,
        updated_at=0,
        segment=Segment(rule=Rule(performed=Performed())),
        rule=Rule(performed=Performed()),
    )


def update(
    person: str, entered: bool | None, name: str = "s", version: int = 1
) -> Update[Membership]:
    said = None if entered is None else Membership(VersionKey("shop", name, version), entered)
    return Update(f"shop/{name}/{person}".encode(), said)


def names(members: Members, name: str = "s", version: int = 1) -> list[str]:
    return members.of(define(name, version)).page("", 100)


updates = st.builds(
    update,
    st.sampled_from(["ada", "bob", "c/d"]),
    st.none() | st.booleans(),
    st.sampled_from("st"),
    st.integers(1, 2),
)


@given(st.lists(updates))
@settings(deadline=None)
def test_the_newest_record_of_a_person_says_whether_they_are_in(
    said: list[Update[Membership]],
) -> None:
    members = Members()
    members.apply(said)
    newest = {one.key: one.record for one in said}
    expected = {
        (name, version): sorted(
            key.decode().split("/", 2)[2]
            for key, result in newest.items()
            if result is not None and result == Membership(VersionKey("shop", name, version), True)
        )
        for name in "st"
        for version in (1, 2)
    }
    for (name, version), persons in expected.items():
        assert names(members, name, version) == persons
    both = set(expected["s", 1]) & set(expected["t", 2])
    assert members.in_all([define("s"), define("t", 2)]) == len(both)


def test_members_come_in_pages_by_id() -> None:
    members = Members()
    members.apply([update(person, True) for person in ("b", "é", "a", "c", "B")])
    crowd = members.of(define("s"))
    assert crowd.page("", 3) == ["B", "a", "b"]
    assert crowd.page("b", 3) == ["c", "é"]


def test_a_page_stays_as_it_was_asked_for() -> None:
    members = Members()
    members.apply([update("a", True)])
    crowd = members.of(define("s"))
    members.apply([update("a", False), update("b", True)])
    assert crowd.page("", 3) == ["a"]


def test_a_view_that_is_full_says_so_and_does_not_guess() -> None:
    members = Members(max_persons=1)
    members.apply([update("a", True), update("b", False), update("a", True, "t")])
    assert members.in_all([define("s"), define("t")]) == 1
    members.apply([update("b", True)])
    with pytest.raises(Unavailable, match="source=store"):
        members.of(define("s"))


def test_all_members_come_in_order_after_any_of_them() -> None:
    members = Members()
    members.apply([update(person, entered=True) for person in ("c/d", "ada", "bob")])
    crowd = members.of(define("s"))
    assert crowd.all() == ["ada", "bob", "c/d"]
    assert crowd.all("ada") == ["bob", "c/d"]
