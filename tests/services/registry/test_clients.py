"""Confluent's own client and serializers, unmodified, against the service and the broker."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
import pyarrow as pa
import pytest
from confluent_kafka.schema_registry import Schema as Text
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

from schemas.avro.codec import Codec, Encoder
from schemas.avro.schema import Schema
from schemas.registry.log import Registry
from services.broker import Broker
from tests.credentials import TOKEN
from tests.kafka import EphemeralTopic
from tests.services.registry.conftest import confluent, serving, url_of

FIRST: dict[str, Any] = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [{"name": "id", "type": "string"}, {"name": "amount", "type": "double"}],
}
SECOND = FIRST | {
    "fields": [*FIRST["fields"], {"name": "coupon", "type": ["null", "string"], "default": None}]
}
BREAKING = FIRST | {"fields": [*FIRST["fields"], {"name": "tax", "type": "double"}]}
ORDERS = [{"id": "a", "amount": 12.5}, {"id": "ü", "amount": -0.25}]

# A service in a process of its own: prints its port, and ends with its standard input.
SERVICE = """
import sys, threading
from schemas.registry.log import Registry
from services.listening import listen
from services.registry.server import make_server
from tests.services.registry.conftest import access

bootstrap, topic, token = sys.argv[1:]
listener = listen("127.0.0.1", 0, "test")
print(listener.getsockname()[1], flush=True)
server = make_server(Registry(bootstrap, topic, timeout_s=120), access(token))
threading.Thread(target=server.run, args=([listener],)).start()
sys.stdin.read()
server.should_exit = True
"""


def text(tree: dict[str, Any]) -> Text:
    return Text(json.dumps(tree), "AVRO")


def refusal(call: Callable[[], object]) -> tuple[int, int, str]:
    with pytest.raises(SchemaRegistryError) as caught:
        call()
    error = caught.value
    return error.http_status_code, error.error_code, error.error_message


def test_our_codec_and_the_deserializer_read_what_the_serializer_writes(
    broker: Broker, topic: str, client: SchemaRegistryClient, url: str
) -> None:
    with EphemeralTopic(broker.bootstrap) as orders:
        context = SerializationContext(orders.name, MessageField.VALUE)
        serialize = AvroSerializer(client, json.dumps(FIRST))
        orders.produce(*(serialize(order, context) or b"" for order in ORDERS))
        values = [message.value() for message in orders.read_all()]

        with confluent(url) as other, Registry(broker.bootstrap, topic) as registry:
            deserialize = AvroDeserializer(other)
            assert [deserialize(value, context) for value in values] == ORDERS
            decoded = Codec(Schema(json.dumps(SECOND)), registry.find).decode(values)
        assert not decoded.failures
        assert decoded.batch.to_pylist() == [order | {"coupon": None} for order in ORDERS]
        assert client.get_subjects() == [f"{orders.name}-value"]


def test_the_deserializer_reads_what_our_encoder_writes(
    broker: Broker, topic: str, client: SchemaRegistryClient
) -> None:
    schema = Schema(json.dumps(FIRST))
    with Registry(broker.bootstrap, topic) as registry:
        encoder = Encoder(schema, registry.register("orders-value", schema))
    rows = pa.RecordBatch.from_pylist(ORDERS, schema=schema.arrow)
    deserialize = AvroDeserializer(client, json.dumps(SECOND))
    context = SerializationContext("orders", MessageField.VALUE)

    read = [deserialize(value, context) for value in encoder.encode(rows)]

    assert read == [order | {"coupon": None} for order in ORDERS]


def test_a_serializer_that_must_not_register_finds_the_registered_schema(
    client: SchemaRegistryClient,
) -> None:
    context = SerializationContext("orders", MessageField.VALUE)
    found = AvroSerializer(client, json.dumps(FIRST), conf={"auto.register.schemas": False})
    assert refusal(lambda: found(ORDERS[0], context))[:2] == (404, 40401)

    schema_id = client.register_schema("orders-value", text(FIRST))
    newest = AvroSerializer(
        client, conf={"auto.register.schemas": False, "use.latest.version": True}
    )
    for serialize in (found, newest):
        value = serialize(ORDERS[0], context)
        assert value is not None
        assert value[:5] == b"\0" + schema_id.to_bytes(4, "big")


def test_versions_and_ids_are_found_in_every_way(client: SchemaRegistryClient, url: str) -> None:
    first = client.register_schema("a-value", text(FIRST))
    second = client.register_schema("a-value", text(SECOND))
    assert client.register_schema("b-value", text(FIRST)) == first
    assert (first, second) == (1, 2)

    with confluent(url) as other:
        assert other.get_schema_types() == ["AVRO"]
        assert other.get_subjects() == ["a-value", "b-value"]
        assert other.get_subjects(subject_prefix="b") == ["b-value"]
        assert other.get_subjects(offset=1, limit=5) == ["b-value"]
        assert other.get_versions("a-value") == [1, 2]
        stood = other.get_version("a-value", 1)
        assert (stood.subject, stood.version, stood.schema_id) == ("a-value", 1, first)
        assert json.loads(stood.schema.schema_str or "") == FIRST
        assert other.get_latest_version("a-value").schema_id == second
        assert json.loads(other.get_schema(second).schema_str or "") == SECOND
        assert other.get_subjects_by_schema_id(first) == ["a-value", "b-value"]
        places = other.get_schema_versions(first)
        assert [(place.subject, place.version) for place in places] == [
            ("a-value", 1),
            ("b-value", 1),
        ]
        assert other.lookup_schema("a-value", text(SECOND)).version == 2


def test_what_does_not_exist_is_reported_with_confluents_codes(
    client: SchemaRegistryClient,
) -> None:
    client.register_schema("a-value", text(FIRST))
    assert refusal(lambda: client.get_versions("none"))[:2] == (404, 40401)
    assert refusal(lambda: client.get_latest_version("none"))[:2] == (404, 40401)
    assert refusal(lambda: client.get_version("a-value", 7)) == (404, 40402, "Version 7 not found.")
    assert refusal(lambda: client.get_version("a-value", 0))[:2] == (422, 42202)
    assert refusal(lambda: client.get_schema(7)) == (404, 40403, "Schema 7 not found")
    assert refusal(lambda: client.lookup_schema("a-value", text(SECOND)))[:2] == (404, 40403)
    assert refusal(lambda: client.lookup_schema("none", text(FIRST)))[:2] == (404, 40401)
    assert refusal(lambda: client.get_compatibility("a-value"))[:2] == (404, 40408)
    assert refusal(lambda: client.delete_subject("none"))[:2] == (404, 40401)
    assert refusal(lambda: client.delete_version("a-value", 7))[:2] == (404, 40402)
    assert refusal(lambda: client.delete_config("a-value"))[:2] == (404, 40401)


def test_an_evolution_that_breaks_readers_is_refused_with_the_reason(
    client: SchemaRegistryClient,
) -> None:
    client.register_schema("a-value", text(FIRST))

    status, code, message = refusal(lambda: client.register_schema("a-value", text(BREAKING)))

    assert (status, code) == (409, 409)
    assert "BACKWARD" in message
    assert "tax: not written, and without a default" in message
    assert not client.test_compatibility("a-value", text(BREAKING))
    assert not client.test_compatibility_all_versions("a-value", text(BREAKING))
    assert client.test_compatibility("a-value", text(SECOND), version=1)
    assert client.test_compatibility("none", text(BREAKING))
    assert refusal(lambda: client.test_compatibility("a-value", text(SECOND), version=9))[:2] == (
        404,
        40402,
    )
    assert client.get_versions("a-value") == [1]


@pytest.mark.parametrize(
    ("level", "added", "dropped"),
    [("BACKWARD", False, True), ("FORWARD", True, False), ("FULL", False, False)],
)
def test_the_compatibility_level_decides_which_schemas_are_accepted(
    client: SchemaRegistryClient, level: str, added: bool, dropped: bool
) -> None:
    """A field without a default is added, or dropped."""
    client.register_schema("a-value", text(FIRST))
    assert client.get_compatibility() == "BACKWARD"
    client.set_compatibility(level=level)
    assert client.get_compatibility() == level

    fewer = FIRST | {"fields": FIRST["fields"][:1]}
    assert client.test_compatibility("a-value", text(BREAKING)) == added
    assert client.test_compatibility("a-value", text(fewer)) == dropped
    client.set_compatibility("a-value", "none")
    assert client.get_compatibility("a-value") == "NONE"
    assert client.register_schema("a-value", text(BREAKING)) == 2
    assert client.delete_config("a-value").compatibility_level == "NONE"
    assert refusal(lambda: client.set_compatibility("a-value", "SOMETIMES"))[:2] == (422, 42203)


def test_a_transitive_level_looks_at_all_versions(client: SchemaRegistryClient) -> None:
    without = FIRST | {"fields": FIRST["fields"][:1]}
    as_text = FIRST | {"fields": [FIRST["fields"][0], {"name": "amount", "type": "string"}]}
    client.register_schema("a-value", text(FIRST))
    client.register_schema("a-value", text(without))
    assert client.test_compatibility_all_versions(
        "a-value", text(as_text | {"fields": [*without["fields"], _default(as_text)]})
    )

    client.set_compatibility("a-value", "BACKWARD_TRANSITIVE")

    assert not client.test_compatibility_all_versions(
        "a-value", text(as_text | {"fields": [*without["fields"], _default(as_text)]})
    )


def _default(tree: dict[str, Any]) -> dict[str, Any]:
    field: dict[str, Any] = tree["fields"][-1] | {"default": ""}
    return field


def test_deleting_takes_two_steps_and_values_stay_readable_after_the_first(
    client: SchemaRegistryClient, url: str
) -> None:
    first = client.register_schema("a-value", text(FIRST))
    client.register_schema("a-value", text(SECOND))
    assert refusal(lambda: client.delete_version("a-value", 1, permanent=True))[:2] == (404, 40407)
    assert client.delete_version("a-value", 1) == 1
    assert refusal(lambda: client.delete_version("a-value", 1))[:2] == (404, 40406)

    with confluent(url) as other:
        assert other.get_versions("a-value") == [2]
        assert other.get_versions("a-value", deleted=True) == [1, 2]
        assert other.get_versions("a-value", deleted_only=True) == [1]
        assert other.get_version("a-value", 1, deleted=True).schema_id == first
        assert refusal(lambda: other.lookup_schema("a-value", text(FIRST)))[:2] == (404, 40403)
        assert other.lookup_schema("a-value", text(FIRST), deleted=True).version == 1
        assert json.loads(other.get_schema(first).schema_str or "") == FIRST

    assert refusal(lambda: client.delete_subject("a-value", permanent=True))[:2] == (404, 40405)
    client.set_compatibility("a-value", "FULL")
    assert client.delete_subject("a-value") == [2]
    assert refusal(lambda: client.delete_subject("a-value"))[:2] == (404, 40404)
    assert refusal(lambda: client.get_compatibility("a-value"))[:2] == (404, 40408)
    with confluent(url) as other:
        assert other.get_subjects() == []
        assert other.get_subjects(deleted=True) == other.get_subjects(deleted_only=True)
        assert other.get_subjects(deleted=True) == ["a-value"]

    assert client.delete_subject("a-value", permanent=True) == [1, 2]
    with confluent(url) as other:
        assert other.get_subjects(deleted=True) == []
        assert refusal(lambda: other.get_schema(first))[:2] == (404, 40403)
        assert other.register_schema("a-value", text(FIRST)) == 3


def test_a_restart_keeps_everything(broker: Broker, topic: str) -> None:
    with serving(broker.bootstrap, topic) as url, confluent(url) as client:
        client.register_schema("a-value", text(FIRST))
        client.register_schema("a-value", text(SECOND))
        client.register_schema("b-value", text(BREAKING))
        client.delete_version("a-value", 1)
        client.set_compatibility("b-value", "NONE")
    with serving(broker.bootstrap, topic) as url, confluent(url) as client:
        assert client.get_subjects() == ["a-value", "b-value"]
        assert client.get_versions("a-value", deleted=True) == [1, 2]
        assert client.get_versions("a-value") == [2]
        assert json.loads(client.get_schema(1).schema_str or "") == FIRST
        assert client.get_compatibility("b-value") == "NONE"
        assert client.register_schema("c-value", text(FIRST)) == 1
        assert client.register_schema("b-value", text(FIRST | {"name": "Other"})) == 4


def test_two_services_that_register_at_once_never_assign_the_same_id(
    broker: Broker, topic: str
) -> None:
    services = [
        subprocess.Popen(
            [sys.executable, "-c", SERVICE, broker.bootstrap, topic, TOKEN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    ids: dict[str, list[int]] = {}
    try:
        urls = []
        for service in services:
            assert service.stdout is not None
            urls.append(url_of(int(service.stdout.readline())))
        script = (
            "import sys, json, httpx\n"
            "url, own = sys.argv[1:]\n"
            "for name in ['s0', own, 's1', own + '-2']:\n"
            "    fields = [{'name': name.replace('-', '_'), 'type': 'int'}]\n"
            "    tree = {'type': 'record', 'name': 'R', 'fields': fields}\n"
            "    answer = httpx.post(f'{url}/subjects/{name}/versions', timeout=240,\n"
            "        json={'schema': json.dumps(tree)})\n"
            "    print(name, answer.raise_for_status().json()['id'])\n"
        )
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", script, urls[number % 2], f"w{number}"],
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(4)
        ]
        for writer in writers:
            output, _ = writer.communicate(timeout=300)
            assert writer.returncode == 0
            for line in output.splitlines():
                name, schema_id = line.split()
                ids.setdefault(name, []).append(int(schema_id))
    finally:
        for service in services:
            service.communicate(timeout=60)

    assert {len(set(given)) for given in ids.values()} == {1}
    given = sorted(next(iter(each)) for each in ids.values())
    assert given == list(range(1, 2 + 2 * 4 + 1))


def test_normalized_schemas_are_equal_however_they_are_written(
    client: SchemaRegistryClient, url: str
) -> None:
    tree = FIRST | {"owner": "checkout", "team": "web"}
    turned = FIRST | {"team": "web", "owner": "checkout"}
    schema_id = client.register_schema("a-value", text(tree), normalize_schemas=True)

    with confluent(url) as other:
        assert other.register_schema("a-value", text(turned), normalize_schemas=True) == schema_id
        assert other.get_versions("a-value") == [1]
    with confluent(url) as other:
        assert refusal(lambda: other.lookup_schema("a-value", text(turned)))[:2] == (404, 40403)
        found = other.lookup_schema("a-value", text(turned), normalize_schemas=True)
        assert found.version == 1


@pytest.mark.parametrize(
    ("body", "status", "code", "says"),
    [
        ({"schema": '{"type": "recrod"}'}, 422, 42201, "not an Avro schema"),
        ({"schema": ""}, 422, 42201, "Empty schema"),
        ({}, 422, 42201, "Empty schema"),
        ({"schema": "message A {}", "schemaType": "PROTOBUF"}, 422, 42201, "PROTOBUF schemas are"),
        (
            {"schema": '"int"', "references": [{"name": "a", "subject": "a", "version": 1}]},
            422,
            42201,
            "references are not supported",
        ),
        (
            {"schema": '"int"', "ruleSet": {"domainRules": []}},
            422,
            42201,
            "ruleSet are not supported",
        ),
        ({"schema": '"int"', "id": 7}, 422, 42205, "leave `id` out"),
        ({"schema": 7}, 422, 422, "Expected `str | null`"),
        ([], 422, 422, "Expected `object`"),
    ],
)
def test_what_is_not_supported_is_refused_with_the_reason(
    http: httpx.Client, body: Any, status: int, code: int, says: str
) -> None:
    for address in ("/subjects/a/versions", "/subjects/a", "/compatibility/subjects/a/versions"):
        answer = http.post(address, json=body)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/vnd.schemaregistry.v1+json"
        assert answer.json()["error_code"] == code
        assert says in answer.json()["message"]


def test_malformed_requests_are_answered_in_confluents_shape(http: httpx.Client) -> None:
    post = "/subjects/a/versions"
    assert http.post(post, content=b"{").json()["error_code"] == 400
    assert http.post(post, content=b" " * 1_000_001).json()["error_code"] == 42209
    assert http.get("/nothing").json() == {"error_code": 404, "message": "HTTP 404 Not Found"}
    assert http.patch("/config").json()["error_code"] == 405
    assert http.get("/schemas/ids/x").json()["error_code"] == 404
    assert http.get("/subjects?limit=x").json()["error_code"] == 422
    assert http.post("/subjects/:.x:a/versions", json={"schema": '"int"'}).json()["error_code"] == (
        42208
    )
    assert http.put("/config", json={"compatibility": "FULL", "normalize": True}).json() == {
        "error_code": 422,
        "message": "normalize cannot be set here, only compatibility",
    }


def test_a_subject_may_contain_any_letters(http: httpx.Client) -> None:
    for subject in ("a/versions/1", "größe", "a b", "a%2Fb", "latest"):
        address = f"/subjects/{quote(subject, safe='')}/versions"
        assert http.post(address, json={"schema": '"int"'}).json() == {"id": 1}, subject
        assert http.get(f"{address}/latest").json()["subject"] == subject
        assert http.get(f"{address}/1/schema").text == '"int"'
    assert http.get("/schemas/ids/1/schema").text == '"int"'


def test_the_service_reports_its_health_and_metrics(http: httpx.Client) -> None:
    assert http.get("/").json() == {}
    assert http.get("/mode").json() == {"mode": "READWRITE"}
    assert http.get("/healthz").status_code == 200
    assert http.get("/readyz").status_code == 200
    http.get("/subjects/a/versions")
    line = 'route="/subjects/{subject:path}/versions",status="404"'
    assert line in http.get("/metrics").text


def test_without_its_topic_the_service_names_it_and_keeps_running(broker: Broker) -> None:
    with (
        serving(broker.bootstrap, "no-such-topic", timeout_s=2) as url,
        httpx.Client(base_url=url, timeout=60) as http,
    ):
        assert http.get("/readyz").status_code == 503
        answer = http.get("/subjects")
        assert (answer.status_code, answer.json()["error_code"]) == (500, 50001)
        assert "no-such-topic does not answer" in answer.json()["message"]
        assert http.get("/healthz").status_code == 200
