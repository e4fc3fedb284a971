"""A separate database in the session's store, with or without separate topics."""

import uuid
from collections.abc import Iterator

import msgspec
import pytest

from schemas.settings import Settings
from tests.sinks.tables import query
from tests.stores import StoreProcess, store

__all__ = ["store"]


def in_store(settings: Settings, store: StoreProcess) -> Settings:
    """Return the settings with a separate database in `store`, which does not exist yet."""
    database = f"t{uuid.uuid4().hex[:8]}"
    return msgspec.structs.replace(settings, clickhouse_dsn=store.dsn, clickhouse_database=database)


@pytest.fixture
def database(store: StoreProcess) -> Iterator[Settings]:
    """A database without Kafka."""
    settings = in_store(Settings(), store)
    yield settings
    query(settings, f"DROP DATABASE IF EXISTS {settings.clickhouse_database}")


@pytest.fixture
def deployment(settings: Settings, database: Settings) -> Settings:
    """Empty topics and a database."""
    return msgspec.structs.replace(
        settings,
        clickhouse_dsn=database.clickhouse_dsn,
        clickhouse_database=database.clickhouse_database,
    )
