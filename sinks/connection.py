"""Connections to AvilaDB: the embedded store, or the ClickHouse server of the settings."""

from typing import Any
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from schemas.errors import Misconfigured, Unavailable
from schemas.settings import STORE_PORT, Settings

_CONNECT_TIMEOUT_S = 5
_WRONG_CREDENTIALS = {192, 193, 516}


def location(settings: Settings) -> dict[str, Any]:
    """Return the address and credentials of ClickHouse as options of its client.

    There is no default database, since it may not exist yet.
    """
    url = urlsplit(settings.clickhouse_dsn)
    secure = url.scheme == "https"
    embedded = settings.port(STORE_PORT)
    return {
        "interface": url.scheme or "http",
        "host": url.hostname or settings.host,
        "port": url.port or (embedded if not url.hostname else 8443 if secure else 8123),
        "username": unquote(url.username or settings.clickhouse_user),
        "password": unquote(url.password or "") or str.__str__(settings.clickhouse_password),
    }


def connect(settings: Settings, *, timeout_s: int, name: str) -> Client:
    """Connect without a default database: statements must name it. Blocks on the network.

    Use the client in one thread. It does not retry statements that could change data.

    Raises:
        Misconfigured: ClickHouse refuses the user or the password.
        Unavailable: ClickHouse does not answer; try again later.
    """
    where = location(settings)
    try:
        return clickhouse_connect.get_client(
            **where,
            compress=False,
            connect_timeout=_CONNECT_TIMEOUT_S,
            send_receive_timeout=timeout_s,
            query_retries=0,
            autogenerate_session_id=False,
            client_name=name,
        )
    except ClickHouseError as error:
        address = f"ClickHouse at {where['host']}:{where['port']}"
        if isinstance(error, DatabaseError) and error.code in _WRONG_CREDENTIALS:
            raise Misconfigured(
                f"{address} refuses the user {where['username']!r}: correct AVILA_CLICKHOUSE_DSN, "
                "or AVILA_CLICKHOUSE_USER and AVILA_CLICKHOUSE_PASSWORD"
            ) from error
        raise Unavailable(f"{address} does not answer: {error}") from error
