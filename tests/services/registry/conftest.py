"""A registry service on a topic of the test's own, and Confluent's client for it."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient

from schemas.registry.log import Registry
from services.broker import Broker
from services.listening import listen
from services.registry.server import make_server
from tests.kafka import EphemeralTopic

TIMEOUT_S = 120


@contextlib.contextmanager
def serving(bootstrap: str, topic: str, *, timeout_s: float = TIMEOUT_S) -> Iterator[str]:
    """Run a service over the topic; yield its address."""
    with listen("127.0.0.1", 0, "test") as listener:
        server = make_server(Registry(bootstrap, topic, timeout_s=timeout_s))
        thread = threading.Thread(target=server.run, args=([listener],), name="registry")
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def topic(broker: Broker) -> Iterator[str]:
    """A `_schemas` topic of the test's own."""
    with EphemeralTopic(broker.bootstrap) as topic:
        yield topic.name


@pytest.fixture
def url(broker: Broker, topic: str) -> Iterator[str]:
    """The address of a service."""
    with serving(broker.bootstrap, topic) as url:
        yield url


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    """A plain HTTP client."""
    with httpx.Client(base_url=url, timeout=TIMEOUT_S) as client:
        yield client


def confluent(url: str, **conf: Any) -> SchemaRegistryClient:
    """Return a client of Confluent's, unmodified, with empty caches."""
    return SchemaRegistryClient({"url": url, "timeout": TIMEOUT_S, "max.retries": 0, **conf})


@pytest.fixture
def client(url: str) -> Iterator[SchemaRegistryClient]:
    """Confluent's client of the service."""
    with confluent(url) as client:
        yield client
