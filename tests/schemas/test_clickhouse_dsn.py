"""The address of ClickHouse is read whole, or refused without showing its password."""

from pathlib import Path
from typing import Any

import pytest

from schemas.clickhouse_dsn import parse_dsn
from schemas.errors import Misconfigured
from schemas.settings import read_settings
from sinks.connection import location


def read(dsn: str, **more: str) -> dict[str, Any]:
    settings = read_settings({"AVILA_CLICKHOUSE_DSN": dsn} | more)
    return {"database": settings.clickhouse_database} | location(settings)


def test_the_database_of_the_address_is_used() -> None:
    assert read("http://ch:8123/shop%20one")["database"] == "shop one"
    assert read("http://ch:8123/")["database"] == "avila"
    assert read("http://ch", AVILA_CLICKHOUSE_DATABASE="own")["database"] == "own"
    assert read("http://ch/own", AVILA_CLICKHOUSE_DATABASE="own")["database"] == "own"


def test_two_databases_are_refused() -> None:
    with pytest.raises(Misconfigured, match=r"'shop'.*AVILA_CLICKHOUSE_DATABASE 'avila'"):
        read("http://ch/shop", AVILA_CLICKHOUSE_DATABASE="avila")


def test_user_and_password_are_decoded_and_the_port_follows_the_scheme() -> None:
    where = read("https://a%40b:c%2Fd@ch/x")
    assert (where["username"], where["password"], where["port"]) == ("a@b", "c/d", 8443)
    assert (where["interface"], where["host"]) == ("https", "ch")


def test_an_ipv6_host_keeps_its_brackets() -> None:
    assert read("http://[::1]:9000/x")["host"] == "[::1]"


def test_an_authority_of_one_s_own_is_passed_to_the_client(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("")
    assert read("https://ch", AVILA_CLICKHOUSE_CA_FILE=str(file))["ca_cert"] == str(file)
    with pytest.raises(Misconfigured, match="AVILA_CLICKHOUSE_CA_FILE"):
        read("https://ch", AVILA_CLICKHOUSE_CA_FILE=str(tmp_path / "other.pem"))


@pytest.mark.parametrize(
    "dsn",
    [
        "clickhouse://u:secret@ch:9000",
        "u:secret@ch",
        "http://u:secret@",
        "http://u:secret@ch:port",
        "http://u:secret@ch/a/b",
        "http://u:secret@ch/a?secure=1",
        "http://u:secret@[::1",
    ],
)
def test_another_form_is_refused_and_its_password_is_not_shown(dsn: str) -> None:
    with pytest.raises(Misconfigured, match="AVILA_CLICKHOUSE_DSN must be") as refused:
        read_settings({"AVILA_CLICKHOUSE_DSN": dsn})
    assert "secret" not in str(refused.value)


def test_the_password_does_not_show_in_representations() -> None:
    dsn = "http://u:hidden@ch/x"
    assert "hidden" not in repr(read_settings({"AVILA_CLICKHOUSE_DSN": dsn}))
    assert "secret" not in repr(parse_dsn(dsn))
