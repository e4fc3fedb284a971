"""An event that is known to have come before is answered as a duplicate, and counts once."""

import uuid
from typing import Any

import pytest

from schemas.avila_pb2 import TrackResponse
from services.ingest.events import EventResult
from services.ingest.formats.protobuf import answer
from tests.services.ingest.conftest import Ingest


def event(**fields: Any) -> dict[str, Any]:
    return {"event": "home", "distinct_id": "ada", "event_id": str(uuid.uuid4())} | fields


@pytest.mark.parametrize("count", [1, 30])
def test_an_event_that_was_acknowledged_before_is_ok_and_a_duplicate(
    ingest: Ingest, count: int
) -> None:
    sent = [event() for _ in range(count)]

    first = ingest.results(sent)
    again = ingest.results([*sent, event()])

    assert not any("duplicate" in one for one in first)
    assert [one["result"] for one in again] == ["ok"] * (count + 1)
    assert [one.get("duplicate", False) for one in again] == [True] * count + [False]


@pytest.mark.parametrize("count", [0, 30])
def test_a_duplicate_within_one_request_is_known_too(ingest: Ingest, count: int) -> None:
    twice = event()

    results = ingest.results([*(event() for _ in range(count)), twice, event(), twice])

    assert [one.get("duplicate", False) for one in results[count:]] == [False, False, True]


def test_the_same_id_of_another_person_is_no_duplicate(ingest: Ingest) -> None:
    for event_id in (str(uuid.uuid4()), "undefined"):
        sent = [event(event_id=event_id, distinct_id=f"p{n}-{event_id}") for n in range(40)]

        assert not any("duplicate" in one for one in ingest.results(sent))
        assert all(one["duplicate"] for one in ingest.results(sent))


def test_an_event_that_was_refused_is_no_duplicate_when_it_is_mended(ingest: Ingest) -> None:
    sent = event()

    [refused] = ingest.results([sent | {"properties": 7}])
    [mended] = ingest.results([sent])

    assert refused["result"] == "drop"
    assert mended["result"] == "ok"
    assert "duplicate" not in mended


def test_grpc_says_so_too() -> None:
    written = answer([EventResult("a", "ok", duplicate=True), EventResult("b", "ok")])
    assert [one.duplicate for one in TrackResponse.FromString(written).results] == [True, False]
