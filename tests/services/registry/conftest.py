"""A registry service on a topic of the test's own, and Confluent's client for it."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient

from schemas.registry.log import Registry
from schemas.topics import Topics
from services.broker import Broker
from services.keys.view import Keys
from services.listening import listen
from services.registry.access import TokenAccess
from services.registry.server import make_server
from tests.credentials import TOKEN, query_token
from tests.kafka import EphemeralTopic

TIMEOUT_S = 120


def access(token: str) -> TokenAccess:
    """Access for some query tokens: the first writes, and the others do not."""
    keys = Keys()
    for one in (
        query_token(token),
        query_token("of one project", "shop"),
        query_token("of a reader", scopes=("read",)),
        query_token("of last year", expires_at=1),
    ):
        keys.tokens[one.id] = one
    return TokenAccess(keys, lambda: None, Topics("avila"))


def url_of(port: int, password: str = TOKEN) -> str:
    """The address of a service on this machine."""
    return f"http://avila:{password}@127.0.0.1:{port}"


@contextlib.contextmanager
def serving(bootstrap: str, topic: str, *, timeout_s: float = TIMEOUT_S) -> Iterator[str]:
    """Run a service over the topic; yield its address, with the credentials to write."""
    with listen("127.0.0.1", 0, "test") as listener:
        server = make_server(Registry(bootstrap, topic, timeout_s=timeout_s), access(TOKEN))
        thread = threading.Thread(target=server.run, args=([listener],), name="registry")
        thread.start()
        try:
            yield url_of(listener.getsockname()[1])
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
