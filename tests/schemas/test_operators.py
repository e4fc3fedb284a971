"""What every operator's definitions have in common, whichever operator it is."""

from typing import Any, Final

import msgspec
import pytest

from schemas.avro import files
from schemas.definitions import NO_PREVIOUS, Definition
from schemas.keys import Project, QueryToken, WriteKey
from schemas.operators import BY_NAME, OPERATORS, OperatorSpec
from schemas.plans import PlanDefinition
from schemas.topics import Topics
from tests.laws.entry import entry_of

STEPS: Final = [{"event": "a"}, {"event": "b"}]
RULE: Final = {"performed": {"event": "a"}}


def record(spec: OperatorSpec, body: dict[str, Any], **fields: Any) -> bytes:
    """A record of the definitions topic; a segment's rule without references is its own."""
    common = {"project_id": "p", "id": "d", "version": 3, "created_at": 1, "updated_at": 2}
    beside = entry_of(spec.name).more(body)
    return msgspec.json.encode({**common, spec.name: body, **beside, **fields})


def body_of(spec: OperatorSpec) -> dict[str, Any]:
    return entry_of(spec.name).body


def define(spec: OperatorSpec, **changes: Any) -> Definition:
    return spec.decode(record(spec, body_of(spec) | changes))


each_operator = pytest.mark.parametrize("spec", OPERATORS, ids=lambda spec: spec.name)


@each_operator
def test_a_record_without_a_revision_has_that_of_its_version(spec: OperatorSpec) -> None:
    old = spec.decode(record(spec, body_of(spec)))
    assert (old.version, old.revision) == (3, 3)
    assert spec.decode(record(spec, body_of(spec), revision=0)) == old
    assert spec.decode(record(spec, body_of(spec), revision=7)).revision == 7
    assert spec.decode(spec.encode(old)) == old


@each_operator
def test_a_definition_carries_the_one_that_counted_before_but_none_before_that(
    spec: OperatorSpec,
) -> None:
    first, second, third = (
        msgspec.structs.replace(define(spec, name=name), version=version)
        for version, name in enumerate(("one", "two", "three"), 1)
    )
    assert spec.previous(first) is None
    second = spec.with_previous(second, first)
    third = spec.decode(spec.encode(spec.with_previous(third, second)))
    before = spec.previous(third)
    assert before == msgspec.structs.replace(second, previous=NO_PREVIOUS)
    assert spec.previous(spec.with_previous(third, None)) is None


@each_operator
def test_a_previous_record_that_is_no_definition_cannot_be_decoded(spec: OperatorSpec) -> None:
    definition = spec.decode(record(spec, body_of(spec), previous={"id": "d"}))
    with pytest.raises(msgspec.DecodeError):
        spec.previous(definition)


@each_operator
def test_names_and_descriptions_change_nothing_of_what_is_counted(spec: OperatorSpec) -> None:
    before = define(spec)
    assert spec.counts_alike(before, define(spec, name="n", description="why"))
    later = msgspec.structs.replace(before, version=4, revision=9, updated_at=5)
    assert spec.counts_alike(before, spec.with_previous(later, before))


@each_operator
def test_any_other_change_is_counted(spec: OperatorSpec) -> None:
    changed = spec.decode(record(spec, entry_of(spec.name).changed))
    assert not spec.counts_alike(define(spec), changed)


def test_no_two_kinds_of_definitions_share_a_name() -> None:
    kinds = [spec.name for spec in OPERATORS] + [PlanDefinition.KIND]
    kinds += [struct.kind for struct in (WriteKey, QueryToken, Project)]
    assert len(set(kinds)) == len(kinds)
    assert len({spec.plural for spec in OPERATORS}) == len(OPERATORS)


@each_operator
def test_an_operator_declares_the_topics_of_its_results_and_their_schemas(
    spec: OperatorSpec,
) -> None:
    topics = Topics("t")
    for result in spec.results:
        topic = result.topic(topics)
        assert topic in topics
        assert topic.name == f"t.{result.suffix}"
        assert result.schema in files.names()


def test_the_topics_of_results_have_the_names_that_they_always_had() -> None:
    declared = [(topic.name, topic.cleanup) for topic in Topics("t")]
    assert len(set(declared)) == len(declared)
    assert set(declared) >= {
        ("t.inbox", "delete"),
        ("t.events", "delete"),
        ("t.rejected", "delete"),
        ("t.definitions", "compact"),
        ("t.funnels", "compact"),
        ("t.funnel-steps", "delete"),
        ("t.cohorts", "compact"),
        ("t.segment-sizes", "compact"),
        ("t.segments", "compact"),
        ("t.metrics", "compact"),
        ("t.state.persons", "compact"),
        ("t.state.positions", "compact"),
        ("t.clocks", "compact"),
        ("_schemas", "compact"),
    }


def test_values_of_different_json_types_do_not_count_alike() -> None:
    funnel = BY_NAME["funnel"]

    def define_with(value: Any) -> Definition:
        where = [{"property": "p", "value": value}]
        return define(funnel, steps=[STEPS[0], {"event": "b", "where": where}])

    assert funnel.counts_alike(define_with(1), define_with(1))
    assert not funnel.counts_alike(define_with(1), define_with(True))
    assert not funnel.counts_alike(define_with(1), define_with("1"))


@pytest.mark.parametrize("name", ["funnel", "cohort"])
def test_a_definition_of_a_version_without_calendars_is_of_utc_and_not_counted_again(
    name: str,
) -> None:
    spec = BY_NAME[name]
    old = define(spec)
    named = define(spec, timezone="UTC", week_start="monday")
    assert getattr(old, name) == getattr(named, name)
    assert spec.counts_alike(old, named)
    assert not spec.counts_alike(old, define(spec, timezone="Europe/Lisbon"))


@pytest.mark.parametrize("name", ["funnel", "cohort"])
@pytest.mark.parametrize(
    "wrong", [{"timezone": "right/UTC"}, {"timezone": "europe/lisbon"}, {"week_start": "friday"}]
)
def test_a_calendar_that_does_not_exist_is_no_definition(name: str, wrong: dict[str, str]) -> None:
    with pytest.raises(msgspec.DecodeError):
        define(BY_NAME[name], **wrong)


def test_segments_count_alike_if_their_rules_do_without_references() -> None:
    segment = BY_NAME["segment"]
    body = {"rule": {"segment": "other"}}
    one = segment.decode(record(segment, body, rule=RULE))
    assert segment.counts_alike(one, define(segment, rule=RULE))
    assert not segment.counts_alike(one, segment.decode(record(segment, body, rule={"not": RULE})))
