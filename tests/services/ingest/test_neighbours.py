"""One event's text harms no neighbour: in every format, alone and among others."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from schemas.avila_pb2 import Event as Message
from schemas.avila_pb2 import TrackRequest, TrackResponse
from schemas.json_text import BYTE_ORDER_MARK
from tests.conftest import free_ports
from tests.credentials import KEY
from tests.services.ingest.conftest import Ingest
from tests.services.ingest.test_websocket import ready

# A property as it is written, what it becomes (None: it is left out), and a word of the warning.
PROPERTIES: list[tuple[str, Any, str]] = [
    (r'"cut \ud83d"', "cut \ufffd", "surrogate"),
    (r'"\udf81 lone"', "\ufffd lone", "surrogate"),
    ("NaN", None, "NaN"),
    ("-Infinity", None, "-Infinity"),
    ("[1,NaN]", [1, None], "NaN"),
    ('{"b":Infinity}', {}, "Infinity"),
    ("1e400", None, "1e400"),
    ('"a\tb"', "a\tb", ""),
    (r'"\ud83c\udf81"', "🎁", ""),
]

NATIVE: dict[str, Any] = {"event": "seen", "distinct_id": "u1", "event_id": "?", "properties": {}}


def native(events: list[Any]) -> Any:
    return {"events": events}


def segment(events: list[Any]) -> Any:
    batch = [
        {
            "type": "track",
            "event": one["event"],
            "userId": one["distinct_id"],
            "messageId": one["event_id"],
            "properties": one["properties"],
        }
        for one in events
    ]
    return {"batch": batch}


def posthog(events: list[Any]) -> Any:
    batch = [
        {
            "event": one["event"],
            "distinct_id": one["distinct_id"],
            "uuid": one["event_id"],
            "properties": one["properties"],
        }
        for one in events
    ]
    return {"api_key": KEY, "batch": batch}


def amplitude(events: list[Any]) -> Any:
    batch = [
        {
            "event_type": one["event"],
            "user_id": one["distinct_id"],
            "insert_id": one["event_id"],
            "event_properties": one["properties"],
        }
        for one in events
    ]
    return {"api_key": KEY, "events": batch}


def array(build: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    return lambda events: next(value for value in build(events).values() if isinstance(value, list))


FORMATS: dict[str, tuple[str, Callable[[list[Any]], Any]]] = {
    "native": ("/v1/events", native),
    "an array": ("/v1/events", array(native)),
    "segment": ("/v1/batch", segment),
    "posthog": ("/batch/", posthog),
    "posthog, an array": ("/e/", array(posthog)),
    "posthog v1": ("/i/v1/analytics/events", posthog),
    "amplitude": ("/2/httpapi", amplitude),
}
ALONE: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "native": ("/v1/events", lambda event: event),
    "segment": ("/v1/track", lambda event: segment([event])["batch"][0]),
    "posthog": ("/e/", lambda event: posthog([event])["batch"][0]),
}


def events(count: int = 3) -> list[dict[str, Any]]:
    """Return events of a person that no other test has."""
    person = {"distinct_id": uuid.uuid4().hex}
    return [
        NATIVE | person | {"event_id": str(uuid.uuid4()), "properties": {"n": n}}
        for n in range(count)
    ]


def written(body: Any, value: str) -> bytes:
    """Write `body` with the property `odd` of the middle event as `value`."""
    return json.dumps(body).replace('"n": 1}', f'"n": 1, "odd": {value}}}', 1).encode()


def stored(inbox: list[Any], sent: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Return the properties of the events in `sent` that are on the inbox, by `n`."""
    user = sent[0]["distinct_id"]
    found = [json.loads(one["properties"]) for one in inbox if one["distinct_id"] == user]
    assert len(found) == len({one["n"] for one in found})
    return {one["n"]: one for one in found}


def assert_stored(ingest: Ingest, taken: list[tuple[list[dict[str, Any]], Any]]) -> None:
    inbox = ingest.inbox()
    for sent, kept in taken:
        assert stored(inbox, sent) == expected(kept), kept


def expected(kept: Any) -> dict[int, dict[str, Any]]:
    odd = {} if kept is None else {"odd": kept}
    return {0: {"n": 0}, 1: {"n": 1} | odd, 2: {"n": 2}}


@pytest.mark.parametrize("name", FORMATS)
def test_a_property_that_is_not_json_costs_itself_in_every_format(
    module_ingest: Ingest, name: str
) -> None:
    path, build = FORMATS[name]
    taken = []
    for value, kept, word in PROPERTIES:
        sent = events()
        answer = module_ingest.http.post(
            path, content=written(build(sent), value), headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 200, (value, answer.text)
        assert "drop" not in answer.text, value
        taken.append((sent, kept))
        if path == "/v1/events" or "/v1/analytics" in path:
            assert answer.text.count('"warning"') == bool(word), value
            assert word in answer.text, value
    assert_stored(module_ingest, taken)


@pytest.mark.parametrize("name", ALONE)
def test_such_a_property_costs_itself_in_a_request_of_one_event(
    module_ingest: Ingest, name: str
) -> None:
    path, build = ALONE[name]
    taken = []
    for value, kept, word in PROPERTIES:
        event = events()[1]
        answer = module_ingest.http.post(path, content=written(build(event), value))
        assert answer.status_code == 200, answer.text
        taken.append((event, kept))
        if name == "native":
            [result] = answer.json()["results"]
            assert result["result"] == ("warning" if word else "ok")
            assert result["event_id"] == event["event_id"]
    inbox = module_ingest.inbox()
    for event, kept in taken:
        assert stored(inbox, [event])[1] == expected(kept)[1]


def verdicts_of(results: list[Any]) -> list[tuple[str, str]]:
    return [(one["event_id"], one["result"]) for one in results]


def verdicts_for(sent: list[dict[str, Any]], word: str) -> list[tuple[str, str]]:
    verdicts = ("ok", "warning" if word else "ok", "ok")
    return [(one["event_id"], verdict) for one, verdict in zip(sent, verdicts, strict=True)]


def test_such_a_property_costs_itself_on_the_websocket(module_ingest: Ingest) -> None:
    taken = []
    with ready(module_ingest) as stream:
        for value, kept, word in PROPERTIES:
            for mark in (b"", BYTE_ORDER_MARK):
                sent = events()
                answer = stream.ask(mark + written({"id": 7} | native(sent), value))
                assert answer["id"] == 7
                assert verdicts_of(answer["results"]) == verdicts_for(sent, word)
                taken.append((sent, kept))
    assert_stored(module_ingest, taken)


def test_such_a_property_costs_itself_in_lines(module_ingest: Ingest) -> None:
    taken = []
    for value, kept, word in PROPERTIES:
        sent = events()
        lines = b"\n".join(written(one, value) for one in sent)
        answer = module_ingest.http.post(
            "/v1/events", content=lines, headers={"Content-Type": "application/x-ndjson"}
        )
        assert verdicts_of(answer.json()["results"]) == verdicts_for(sent, word)
        taken.append((sent, kept))
    assert_stored(module_ingest, taken)


def test_such_a_property_costs_itself_in_grpc(serve: Callable[..., Ingest]) -> None:
    [free] = free_ports(1)
    ingest = serve(grpc_port=free)
    request = TrackRequest()
    for n, (value, _, _) in enumerate(PROPERTIES):
        request.events.append(
            Message(
                event="seen", distinct_id="u1", properties=f'{{"n":{n},"odd":{value}}}'.encode()
            )
        )
    with grpc.insecure_channel(f"127.0.0.1:{free}") as channel:
        call = channel.unary_unary(
            "/avila.v1.Ingest/Track",
            request_serializer=TrackRequest.SerializeToString,
            response_deserializer=TrackResponse.FromString,
        )
        response = call(request, metadata=(("authorization", f"Bearer {KEY}"),), timeout=60)

    found = stored(ingest.inbox(), [{"distinct_id": "u1"}])
    for n, (result, (_, kept, word)) in enumerate(zip(response.results, PROPERTIES, strict=True)):
        assert result.verdict == (2 if word else 1), result
        assert word in result.details
        assert found[n] == {"n": n} | ({} if kept is None else {"odd": kept})


@pytest.mark.parametrize("name", FORMATS)
def test_a_text_that_is_not_json_at_all_costs_its_event_and_is_named(
    module_ingest: Ingest, name: str
) -> None:
    path, build = FORMATS[name]
    sent = events()

    answer = module_ingest.http.post(path, content=written(build(sent), "maybe"))

    assert answer.status_code == 200, answer.text
    assert set(stored(module_ingest.inbox(), sent)) == {0, 2}
    body = answer.json()
    if "dropped" in body:
        [drop] = body["dropped"]
        assert (drop["index"], drop["id"]) == (1, sent[1]["event_id"])
    elif isinstance(body["results"], dict):
        assert body["results"][sent[1]["event_id"]]["result"] == "drop"
    else:
        assert [one["result"] for one in body["results"]] == ["ok", "drop", "ok"]
        assert body["results"][1]["event_id"] == sent[1]["event_id"]


def test_a_cut_emoji_in_a_name_or_an_id_is_replaced_too(ingest: Ingest) -> None:
    sent = [one | {"distinct_id": "u1"} for one in events()]
    body = json.dumps(sent).replace('"u1"', r'"u\ud83d"', 1).replace('"seen"', r'"\udc00"', 1)

    results = ingest.results(content=body)

    assert [one["result"] for one in results] == ["warning", "ok", "ok"]
    found = {one["distinct_id"]: one["event"] for one in ingest.inbox()}
    assert found == {"u\ufffd": "\ufffd", "u1": "seen"}


def test_very_much_that_is_not_json_is_not_repaired(shared: Ingest) -> None:
    large = "x" * 100_000
    sent = [one | {"properties": {"n": 1, "a": large}} for one in events(30)]
    body = json.dumps(sent).replace('"n": 1', '"n": NaN')

    results = shared.results(content=body)

    verdicts = [one["result"] for one in results]
    assert verdicts == ["warning"] * 10 + ["drop"] * 20


def test_a_batch_of_too_many_events_of_which_one_is_not_json_is_too_large(
    serve: Callable[..., Ingest],
) -> None:
    ingest = serve(max_events=3)

    answer = ingest.http.post("/v1/events", content=b"[" + b",".join([b"{}"] * 9) + b",NaN]")

    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
