"""A deployment with a query service in a thread, which alerts ask."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from schemas.settings import Settings
from services.broker import Broker
from tests.conftest import deployment
from tests.credentials import TOKEN
from tests.services.query.conftest import prepared, serve_in_thread
from tests.warehouse import Warehouse


@pytest.fixture
def asked(broker: Broker, tmp_path: Path, warehouse: Warehouse) -> Iterator[Settings]:
    """The settings of a deployment whose query service has a store."""
    more = {"webhook_key": "a secret of tests alone", "webhook_networks": "127.0.0.0/8"}
    with deployment(broker, tmp_path, **more) as made:
        settings = msgspec.structs.replace(
            prepared(made),
            clickhouse_dsn=warehouse.settings.clickhouse_dsn,
            clickhouse_database=warehouse.settings.clickhouse_database,
        )
        with serve_in_thread(settings) as port:
            yield msgspec.structs.replace(
                settings, query_url=f"http://127.0.0.1:{port}", query_token=TOKEN
            )
