"""A store that knows the tokens of two projects, whose events it has."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from schemas.settings import Settings, read_settings
from services.broker import Broker
from tests.conftest import deployment
from tests.credentials import put, query_token
from tests.sinks.processes import environment
from tests.stores import StoreProcess, new_store, remove_store
from tests.warehouse import Event, Warehouse

READER, WRITER, ELSEWHERE, EXPIRED = (
    f"aqt_{name}" for name in ("read", "write", "other", "expired")
)
SECRET = "of-another-project"
AT = 1_700_000_000_000


@dataclass
class ProjectStore(StoreProcess):
    """A store whose users of projects have their tokens in a Kafka."""

    kafka: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {**self.kafka, **super().environment}


@pytest.fixture(scope="module")
def project_store(
    broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProjectStore]:
    """The projects `shop` and `other`, with events and a token for reading each."""
    with deployment(broker, tmp_path_factory.mktemp("projects")) as settings:
        put(
            settings,
            query_token(READER, "shop", scopes=("read",)),
            query_token(WRITER, "shop", scopes=("write",)),
            query_token(ELSEWHERE, "other", scopes=("read",)),
            query_token(EXPIRED, "shop", scopes=("read",), expires_at=1),
        )
        made = new_store()
        store = ProjectStore(made.directory, made.port, kafka=_kafka(settings))
        try:
            store.start()
            _fill(store)
            yield store
        finally:
            remove_store(store)


def _kafka(settings: Settings) -> dict[str, str]:
    given = environment(settings)
    return {name: value for name, value in given.items() if name != "AVILA_DATA_DIR"}


def _fill(store: StoreProcess) -> None:
    settings = read_settings({}, clickhouse_dsn=store.dsn, data_dir=Path("unused"))
    warehouse = Warehouse(settings)
    warehouse.write(
        [
            *(
                Event("shop", f"person {n % 3}", "buy", AT + n, json.dumps({"n": n}))
                for n in range(10)
            ),
            Event("shop", "person 0", "view", AT, '{"$set": {"plan": "pro"}}'),
            Event("other", SECRET, SECRET, AT, json.dumps({SECRET: SECRET})),
        ]
    )
    warehouse.close()
