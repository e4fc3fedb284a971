"""Names of earlier versions: refused in requests with the new name, read in stored definitions."""

import json
from typing import Any

import msgspec
import pytest

from schemas.errors import InvalidRequest
from schemas.operators import BY_NAME
from schemas.operators.metric import decode_metric
from schemas.operators.segment import decode_segment

STEPS = [{"event": "a"}, {"event": "b"}]
OLD_RULE = {
    "or": [
        {"did": {"event": "a", "at_least": 2, "where": [{"property": "did", "value": "did"}]}},
        {"not": {"and": [{"did": {}}, {"performed": {"steps": STEPS, "window_s": 60}}]}},
        {"first_seen": {"longer_ago_s": 9}},
        {"last_seen": {"event": "did", "longer_ago_s": 9}},
        {"person": [{"property": "performed", "value": "longer_ago_s"}]},
    ]
}
NEW_RULE = {
    "or": [
        {
            "performed": {
                "event": "a",
                "at_least": 2,
                "where": [{"property": "did", "value": "did"}],
            }
        },
        {"not": {"and": [{"performed": {}}, {"sequence": {"steps": STEPS, "window_s": 60}}]}},
        {"first_seen": {"not_within_s": 9}},
        {"last_seen": {"event": "did", "not_within_s": 9}},
        {"person": [{"property": "performed", "value": "longer_ago_s"}]},
    ]
}
OLD_METRIC = {"measure": "events", "of": {"event": "of", "where": [{"property": "of", "value": 1}]}}
NEW_METRIC = {
    "measure": "events",
    "filter": {"event": "of", "where": [{"property": "of", "value": 1}]},
}


@pytest.mark.parametrize(
    ("rule", "field", "said"),
    [
        ({"did": {"event": "a"}}, "rule.did", "`did` is called `performed` now"),
        ({"and": [{"did": {}}, {}]}, "rule.and[0].did", "`performed` now"),
        (
            {"or": [{"segment": "s"}, {"not": {"performed": {"steps": STEPS}}}]},
            "rule.or[1].not.performed",
            "`performed` with `steps` is called `sequence` now",
        ),
        ({"performed": {"steps": []}}, "rule.performed", "`sequence` now"),
        ({"last_seen": {"longer_ago_s": 9}}, "rule.last_seen.longer_ago_s", "`not_within_s` now"),
        (
            {"not": {"first_seen": {"event": "a", "longer_ago_s": None}}},
            "rule.not.first_seen.longer_ago_s",
            "`not_within_s` now",
        ),
        (
            {"did": {"at_least": 1}, "performed": {"at_least": 1}},
            "rule.did",
            "`did` is called `performed` now",
        ),
    ],
)
def test_an_old_name_in_a_rule_is_refused_with_the_new_one(
    rule: Any, field: str, said: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        decode_segment(json.dumps({"rule": rule, "name": "of"}).encode())
    assert refused.value.field == field
    assert said in refused.value.reason


def test_the_old_name_of_a_metrics_filter_is_refused_with_the_new_one() -> None:
    with pytest.raises(InvalidRequest) as refused:
        decode_metric(json.dumps(OLD_METRIC).encode())
    assert refused.value.field == "of"
    assert refused.value.reason == "`of` is called `filter` now"


@pytest.mark.parametrize(
    "body",
    [
        b'{"rule": {"xor": []}}',
        b'{"rule": [{"did": {}}]}',
        b'{"rule": {"and": {"did": {}}}}',
        b'{"rule": {"person": [{"did": {}}]}}',
        b'{"did": {}}',
        b'[{"did": {}}]',
        b'{"rule":' + 2_000 * b'{"not":' + b"{}" + 2_001 * b"}",
    ],
    ids=lambda body: repr(body[:40]),
)
def test_a_name_that_is_not_where_the_old_one_was_is_refused_as_any_other(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as refused:
        decode_segment(body)
    assert " now" not in refused.value.reason


def record(kind: str, version: int, **fields: Any) -> dict[str, Any]:
    """A record of the definitions topic as versions without revisions wrote them."""
    common = {"project_id": "p", "id": kind, "version": version, "created_at": 1, "updated_at": 2}
    return common | fields


OLD: dict[str, list[dict[str, Any]]] = {
    "segment": [
        {"segment": {"rule": {"segment": "other"}}, "rule": OLD_RULE},
        {"segment": {"rule": OLD_RULE, "name": "did"}, "rule": OLD_RULE},
    ],
    "metric": [{"metric": OLD_METRIC}, {"metric": OLD_METRIC | {"limit": 3}}],
}
NEW: dict[str, list[dict[str, Any]]] = {
    "segment": [
        {"segment": {"rule": {"segment": "other"}}, "rule": NEW_RULE},
        {"segment": {"rule": NEW_RULE, "name": "did"}, "rule": NEW_RULE},
    ],
    "metric": [{"metric": NEW_METRIC}, {"metric": NEW_METRIC | {"limit": 3}}],
}


@pytest.mark.parametrize("kind", OLD)
def test_a_stored_definition_with_old_names_is_read_as_if_it_had_the_new_ones(kind: str) -> None:
    spec = BY_NAME[kind]
    for old, new in zip(OLD[kind], NEW[kind], strict=True):
        read = spec.decode(msgspec.json.encode(record(kind, 2, **old)))
        assert read == spec.decode(msgspec.json.encode(record(kind, 2, **new)))
        assert b"longer_ago_s" not in spec.encode(read).replace(b'"value":"longer_ago_s"', b"")
        assert spec.counts_alike(read, spec.decode(spec.encode(read)))


@pytest.mark.parametrize("kind", OLD)
def test_the_previous_version_in_a_stored_definition_may_have_old_names_too(kind: str) -> None:
    spec = BY_NAME[kind]
    for outer in (OLD, NEW):
        stored = record(kind, 2, **outer[kind][1], previous=record(kind, 1, **OLD[kind][0]))
        read = spec.decode(msgspec.json.encode(stored))
        before = spec.decode(msgspec.json.encode(record(kind, 1, **NEW[kind][0])))
        assert spec.previous(read) == before
        assert spec.previous(spec.decode(spec.encode(read))) == before


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("segment", {"segment": {"rule": {"did": {}, "performed": {}}}, "rule": {"did": {}}}),
        ("segment", {"segment": {"rule": {"did": {"times": 1}}}, "rule": {"did": {}}}),
        ("metric", {"metric": OLD_METRIC | {"filter": {}}}),
        ("metric", {"metric": OLD_METRIC | {"unit": "s"}}),
        ("metric", {"metric": None}),
    ],
)
def test_a_stored_definition_that_renaming_does_not_mend_cannot_be_decoded(
    kind: str, fields: dict[str, Any]
) -> None:
    with pytest.raises(msgspec.DecodeError):
        BY_NAME[kind].decode(msgspec.json.encode(record(kind, 1, **fields)))
