"""Connections to AvilaDB: the embedded store, or the ClickHouse server of the settings."""

from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from schemas.clickhouse_dsn import ClickHouseAddress, parse_dsn
from schemas.errors import Misconfigured, Unavailable
from schemas.settings import STORE_PORT, Settings
from sinks.store_password import store_password

_CONNECT_TIMEOUT_S = 5
_WRONG_CREDENTIALS = {192, 193, 516}


def location(settings: Settings) -> dict[str, Any]:
    """Return the address and credentials of ClickHouse as options of its client.

    There is no default database, since it may not exist yet.

    Raises:
        Misconfigured: the password of the embedded store cannot be read or written.
    """
    if settings.clickhouse_dsn:
        address = parse_dsn(settings.clickhouse_dsn)
        password = address.password or str.__str__(settings.clickhouse_password)
    else:
        host, port = settings.local_host, settings.port(STORE_PORT)
        password = store_password(settings)
        address = ClickHouseAddress("http", f"[{host}]" if ":" in host else host, port)
    where = {
        "interface": address.scheme,
        "host": address.host,
        "port": address.port,
        "username": address.user or settings.clickhouse_user,
        "password": password,
    }
    if settings.clickhouse_ca_file is not None:
        where["ca_cert"] = str(settings.clickhouse_ca_file)
    return where


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
