"""Settings are read once, as a whole, and a wrong one is named."""

from pathlib import Path

import msgspec
import pytest

from schemas import settings as module
from schemas.bootstrap import parse_bootstrap
from schemas.errors import Misconfigured
from schemas.settings import PORTS_PER_SYSTEM, PREFIX, Settings, read_settings


def test_nothing_set_means_one_machine_with_everything_embedded() -> None:
    settings = read_settings({})
    assert settings == Settings()
    assert settings.bootstrap == "127.0.0.1:9092"
    assert settings.topics.events.name == "avila.events"


def test_values_come_from_the_environment_and_overrides_win() -> None:
    environ = {"AVILA_PARTITIONS": "12", "AVILA_DEDUP_MEMORY_MB": "5_000", "AVILA_DATA_DIR": "/x"}
    settings = read_settings(environ, partitions=3)
    assert settings.partitions == 3
    assert settings.dedup_memory_mb == 5_000
    assert settings.data_dir == Path("/x")


def test_variables_without_our_prefix_are_ignored() -> None:
    assert read_settings({"PATH": "/bin", "KAFKA_BOOTSTRAP": "other:9092"}) == Settings()


def test_an_unknown_key_is_refused_with_the_known_ones() -> None:
    with pytest.raises(Misconfigured, match=r"AVILA_PARTITION is not.*AVILA_PARTITIONS"):
        read_settings({"AVILA_PARTITION": "4"})


@pytest.mark.parametrize("name", sorted(module._RANGES))
def test_a_number_out_of_range_names_its_key_and_the_range(name: str) -> None:
    least, most = module._RANGES[name]
    key = PREFIX + name.upper()
    for value in (least - 1, most + 1):
        with pytest.raises(Misconfigured, match=f"{key} must be {least} to {most}, and is {value}"):
            read_settings({key: str(value)})
    for value in (least, most):
        assert getattr(read_settings({key: str(value)}), name) == value


def test_every_number_has_a_range() -> None:
    numbers = {field.name for field in msgspec.structs.fields(Settings) if field.type is int}
    assert numbers == set(module._RANGES)


@pytest.mark.parametrize("text", ["", "many", "1.5", "0x10"])
def test_what_is_not_a_number_names_its_key(text: str) -> None:
    with pytest.raises(Misconfigured, match="AVILA_PARTITIONS must be a whole number"):
        read_settings({"AVILA_PARTITIONS": text})


def test_a_store_address_of_another_scheme_is_refused() -> None:
    with pytest.raises(Misconfigured, match="AVILA_CLICKHOUSE_DSN"):
        read_settings({"AVILA_CLICKHOUSE_DSN": "clickhouse://host:9000"})


def test_secrets_do_not_show() -> None:
    settings = read_settings({"AVILA_CLICKHOUSE_PASSWORD": "hunter2"})
    assert "hunter2" not in repr(settings)
    assert settings.clickhouse_password == "hunter2"


def test_the_port_base_moves_every_port_and_keeps_them_apart() -> None:
    usual, moved = Settings(), Settings(port_base=20_000)
    assert [usual.port(port) for port in module._PORTS] == list(module._PORTS)
    ports = [moved.port(port) for port in module._PORTS]
    assert ports == list(range(20_000, 20_000 + PORTS_PER_SYSTEM))
    assert moved.bootstrap == f"127.0.0.1:{moved.port(module.BROKER_PORT)}"


def test_a_kafka_of_ones_own_is_not_moved() -> None:
    settings = read_settings({"AVILA_KAFKA_BOOTSTRAP": "kafka:9092", "AVILA_PORT_BASE": "20000"})
    assert settings.bootstrap == "kafka:9092"


def test_two_systems_on_one_machine_are_two_workers() -> None:
    assert Settings().worker_name != Settings(port_base=20_000).worker_name
    assert Settings(worker_id="w1").worker_name == "w1"


@pytest.mark.parametrize(
    ("host", "bootstrap"),
    [
        ("0.0.0.0", "127.0.0.1:9092"),
        ("::", "[::1]:9092"),
        ("::1", "[::1]:9092"),
        ("192.0.2.1", "192.0.2.1:9092"),
    ],
)
def test_the_embedded_broker_is_reached_wherever_the_services_listen(
    host: str, bootstrap: str
) -> None:
    settings = read_settings({"AVILA_HOST": host})
    assert settings.bootstrap == bootstrap
    assert parse_bootstrap(settings.bootstrap)
