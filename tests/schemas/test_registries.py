"""The registry on the topic and the one at a URL behave the same."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import httpx
import msgspec
import pytest

from schemas.errors import Conflict, InvalidRequest, Misconfigured, Unavailable
from schemas.registry.client import SchemaRegistry, open_registry
from schemas.registry.log import Registry
from schemas.registry.remote import RemoteRegistry
from schemas.settings import Secret, Settings, read_settings
from services.broker import Broker
from services.registry.server import run_registry
from tests.conftest import free_ports
from tests.kafka import EphemeralTopic
from tests.schemas.examples import changed, record
from tests.services.registry.conftest import serving

FIRST = record({"name": "a", "type": "string"})
SECOND = changed(FIRST, add=[{"name": "b", "type": "int", "default": 0}], drop=set())
BREAKING = changed(FIRST, add=[{"name": "c", "type": "int"}], drop=set())

Open = Callable[[], SchemaRegistry]


@pytest.fixture(params=["topic", "address"])
def registry(broker: Broker, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Yield a function that opens registries of one kind on the same schemas."""
    with ExitStack() as stack:
        topic = stack.enter_context(EphemeralTopic(broker.bootstrap)).name
        if request.param == "topic":
            yield lambda: stack.enter_context(closing(Registry(broker.bootstrap, topic)))
        else:
            url = stack.enter_context(serving(broker.bootstrap, topic))
            yield lambda: stack.enter_context(closing(RemoteRegistry(url)))


def test_a_schema_that_one_registers_is_found_by_another(registry: Open) -> None:
    one, other = registry(), registry()

    first = one.register("x-value", FIRST)
    assert other.find([first, 99]) == {first: FIRST}
    second = other.register("x-value", SECOND)
    assert one.register("x-value", SECOND) == second
    assert one.register("y-value", FIRST) == first
    assert (first, second) == (1, 2)
    assert one.find([first, second]) == {first: FIRST, second: SECOND}


def test_a_refusal_carries_its_reason(registry: Open) -> None:
    opened = registry()
    opened.register("x-value", FIRST)

    with pytest.raises(Conflict, match="c: not written, and without a default"):
        opened.register("x-value", BREAKING)
    with pytest.raises(InvalidRequest, match="printable name"):
        opened.register(":.context:x", FIRST)


def test_threads_share_one(registry: Open) -> None:
    opened, ids = registry(), list[int]()
    threads = [
        threading.Thread(target=lambda: ids.append(opened.register("x-value", FIRST)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert ids == [1, 1, 1, 1]


@pytest.mark.parametrize("kind", ["topic", "address"])
def test_a_registry_that_does_not_answer_is_named(broker: Broker, kind: str) -> None:
    (port,) = free_ports(1)
    opened: SchemaRegistry
    if kind == "topic":
        opened = Registry(broker.bootstrap, "no-such-topic", timeout_s=2)
    else:
        opened = RemoteRegistry(f"http://127.0.0.1:{port}", timeout_s=2)
    with closing(opened), pytest.raises(Unavailable, match="does not answer"):
        opened.register("x-value", FIRST)


def test_the_settings_decide_which_is_used(broker: Broker) -> None:
    usual = read_settings({}, kafka_bootstrap=broker.bootstrap)
    with EphemeralTopic(broker.bootstrap) as topic, serving(broker.bootstrap, topic.name) as url:
        other = msgspec.structs.replace(usual, schema_registry_url=Secret(url))
        with closing(open_registry(other)) as registry:
            assert registry.register("x-value", FIRST) == 1
        assert httpx.get(f"{url}/subjects").json() == ["x-value"]
        with closing(open_registry(usual)) as registry:
            assert isinstance(registry, Registry)
        with pytest.raises(Misconfigured, match="AVILA_SCHEMA_REGISTRY_URL"):
            run_registry(other)


def test_an_address_without_a_registry_is_reported_as_a_wrong_setting(broker: Broker) -> None:
    with (
        EphemeralTopic(broker.bootstrap) as topic,
        serving(broker.bootstrap, topic.name) as url,
        closing(RemoteRegistry(f"{url}/elsewhere", timeout_s=5)) as registry,
        pytest.raises(Misconfigured, match="answers 404"),
    ):
        registry.register("x-value", FIRST)


def test_the_address_is_checked_and_its_password_does_not_show() -> None:
    settings = read_settings({"AVILA_SCHEMA_REGISTRY_URL": "http://u:hunter2@a:1,https://b"})
    assert "hunter2" not in repr(settings)
    assert not Settings().schema_registry_url
    with pytest.raises(Misconfigured, match="AVILA_SCHEMA_REGISTRY_URL"):
        read_settings({"AVILA_SCHEMA_REGISTRY_URL": "registry:8081"})
