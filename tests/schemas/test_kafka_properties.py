"""Every Kafka client gets the properties that users set; errors name them as they were given."""

from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from schemas.cluster import Cluster, client_config
from schemas.errors import Misconfigured
from schemas.settings import Settings, read_settings
from services.worker import as_environment

SASL = {
    "AVILA_KAFKA_BOOTSTRAP": "kafka:9093",
    "AVILA_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "AVILA_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "AVILA_KAFKA_SASL_USERNAME": "ada",
    "AVILA_KAFKA_SASL_PASSWORD": "love_lace.\\=\"'",
}
JAVA = """\
# What an administrator hands out.
bootstrap.servers = kafka:9093
security.protocol: SASL_PLAINTEXT
sasl.mechanism PLAIN
! The password is a"b\\c.
sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
    username="ada" \\
    password="a\\\\"b\\\\\\\\c" ;

key.serializer=org.apache.kafka.common.serialization.StringSerializer
client.rack=\\u0061-1
"""


def test_each_variable_is_the_property_of_its_name() -> None:
    settings = read_settings(SASL)
    assert settings.kafka_properties == {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "ada",
        "sasl.password": "love_lace.\\=\"'",
    }
    config = client_config(settings.cluster, {"log_level": 0})
    assert config["bootstrap.servers"] == "kafka:9093"
    AdminClient(config)  # accepts all of them


def test_another_process_reads_the_same_properties_from_the_environment() -> None:
    settings = read_settings(SASL)
    assert read_settings(as_environment(settings)).cluster == settings.cluster


def test_a_properties_file_of_java_s_clients_is_understood(tmp_path: Path) -> None:
    file = tmp_path / "client.properties"
    file.write_text(JAVA)
    settings = read_settings({"AVILA_KAFKA_PROPERTIES_FILE": str(file)})
    assert settings.bootstrap == "kafka:9093"
    assert settings.kafka_properties == {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "ada",
        "sasl.password": 'a"b\\c',
        "client.rack": "a-1",
    }
    assert read_settings(as_environment(settings)).cluster == settings.cluster


def test_variables_take_precedence_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "client.properties"
    file.write_text("client.rack=file\nsocket.keepalive.enable=true\nbootstrap.servers=other:1\n")
    settings = read_settings(
        {
            "AVILA_KAFKA_PROPERTIES_FILE": str(file),
            "AVILA_KAFKA_CLIENT_RACK": "variable",
            "AVILA_KAFKA_BOOTSTRAP": "own:1",
        }
    )
    assert settings.bootstrap == "own:1"
    assert settings.kafka_properties == {
        "client.rack": "variable",
        "socket.keepalive.enable": "true",
    }


def test_the_protocol_of_the_addresses_is_that_of_the_connections() -> None:
    settings = read_settings({"AVILA_KAFKA_BOOTSTRAP": "SSL://one:9093,ssl://[::1]:9093"})
    assert settings.bootstrap == "SSL://one:9093,ssl://[::1]:9093"
    assert settings.kafka_properties == {"security.protocol": "SSL"}
    AdminClient(client_config(settings.cluster, {"log_level": 0}))


def test_a_relative_path_of_a_certificate_holds_in_every_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "krb5.keytab").write_text("")
    settings = read_settings(
        {"AVILA_KAFKA_BOOTSTRAP": "kafka", "AVILA_KAFKA_SSL_CRL_LOCATION": "krb5.keytab"}
    )
    assert settings.kafka_properties["ssl.crl.location"] == str(tmp_path / "krb5.keytab")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"AVILA_KAFKA_SASL_USER": "ada"}, "AVILA_KAFKA_SASL_USER.*sasl.user"),
        ({"AVILA_KAFKA_PROPERTIES": "x"}, "AVILA_KAFKA_PROPERTIES: No such"),
        ({"AVILA_KAFKA_BOOTSTRAP_SERVERS": "x"}, "AVILA_KAFKA_BOOTSTRAP instead"),
        ({"AVILA_KAFKA_SOCKET_TIMEOUT_MS": "soon"}, "AVILA_KAFKA_SOCKET_TIMEOUT_MS.*Invalid value"),
        ({"AVILA_KAFKA_SECURITY_PROTOCOL": "SASLSSL"}, "Invalid value.*security.protocol"),
        ({"AVILA_KAFKA_SSL_CA_LOCATION": "/no/such/ca.pem"}, "AVILA_KAFKA_SSL_CA_LOCATION.*read"),
        ({"AVILA_KAFKA_SSL_TRUSTSTORE_LOCATION": "/x.jks"}, "PEM.*ssl.ca.location"),
        ({"AVILA_KAFKA_ENABLE_IDEMPOTENCE": "false"}, "AVILA_KAFKA_ENABLE_IDEMPOTENCE cannot"),
        ({"AVILA_KAFKA_GROUP_ID": "mine"}, "AVILA_KAFKA_GROUP_ID cannot be set"),
        ({"AVILA_KAFKA_SESSION_TIMEOUT_MS": "9"}, "AVILA_SESSION_TIMEOUT_MS instead"),
        ({"AVILA_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "AVILA_KAFKA_SASL_MECHANISM is missing"),
        ({"AVILA_KAFKA_PROPERTIES_FILE": "/no/such"}, "AVILA_KAFKA_PROPERTIES_FILE.*No such file"),
    ],
)
def test_what_is_not_accepted_is_named(given: dict[str, str], named: str) -> None:
    with pytest.raises(Misconfigured, match=named):
        read_settings({"AVILA_KAFKA_BOOTSTRAP": "kafka:9092"} | given)


def test_two_protocols_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(Misconfigured, match=r"SASL_SSL.*SASL_PLAINTEXT"):
        read_settings(SASL | {"AVILA_KAFKA_BOOTSTRAP": "SASL_SSL://kafka:9093"})


def test_credentials_without_the_address_of_a_kafka_are_refused() -> None:
    without = {key: text for key, text in SASL.items() if key != "AVILA_KAFKA_BOOTSTRAP"}
    with pytest.raises(Misconfigured, match="AVILA_KAFKA_BOOTSTRAP is missing"):
        read_settings(without)


def test_blanks_between_addresses_are_left_out() -> None:
    assert read_settings({"AVILA_KAFKA_BOOTSTRAP": "a:1, b:2 "}).bootstrap == "a:1,b:2"


@pytest.mark.parametrize("text", ["kafka:nine", "http://kafka:9092", "kafka:0", "a b", ","])
def test_an_address_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(Misconfigured, match="AVILA_KAFKA_BOOTSTRAP"):
        read_settings({"AVILA_KAFKA_BOOTSTRAP": text})


def test_no_value_of_a_property_shows_in_a_representation() -> None:
    settings = read_settings(SASL)
    shown = (settings, settings.cluster, settings.kafka_properties)
    assert "love" not in " ".join([*map(repr, shown), *map(str, shown)])


def test_a_cluster_s_properties_replace_those_of_the_client() -> None:
    cluster = Cluster("kafka", {"socket.timeout.ms": "1"})
    assert client_config(cluster, {"socket.timeout.ms": 2})["socket.timeout.ms"] == "1"
    assert client_config("kafka", {"linger.ms": 2}) == {
        "bootstrap.servers": "kafka",
        "linger.ms": 2,
    }


def test_what_kubernetes_says_of_services_is_not_read() -> None:
    links = {
        f"AVILA_{service}{name}": value
        for service in ("", "INGEST_", "KAFKA_", "KAFKA_BOOTSTRAP_", "CLICKHOUSE_")
        for name, value in {
            "SERVICE_HOST": "10.0.0.1",
            "SERVICE_PORT": "9092",
            "SERVICE_PORT_TCP_CLIENTS": "9092",
            "PORT": "tcp://10.0.0.1:9092",
            "PORT_9092_TCP": "tcp://10.0.0.1:9092",
            "PORT_9092_TCP_PROTO": "tcp",
            "PORT_9092_TCP_PORT": "9092",
            "PORT_9092_TCP_ADDR": "10.0.0.1",
        }.items()
    }
    assert read_settings(links) == Settings()


def test_a_port_that_a_user_meant_as_a_setting_is_refused() -> None:
    with pytest.raises(Misconfigured, match="AVILA_PORT is not a setting"):
        read_settings({"AVILA_PORT": "8000"})
