"""The address of a Kafka cluster as users write it: one server or several, also in IPv6."""

import re
from typing import Final, NamedTuple

from schemas.errors import Misconfigured

PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
DEFAULT_PORT: Final = 9092
_SERVER: Final = re.compile(
    r"""
      (?: (?P<protocol> \w+ ) :// )?
      (?: \[ (?P<ipv6> [0-9A-Fa-f:.%\w]+ ) \] | (?P<host> [^\s\[\]:/@]+ ) )
      (?: : (?P<port> \d{1,5} ) )?
    """,
    re.VERBOSE,
)


class Server(NamedTuple):
    """One address of a cluster; without a protocol, that of the settings applies."""

    host: str
    port: int
    protocol: str = ""


def parse_bootstrap(text: str) -> list[Server]:
    """Return the servers in a list such as `kafka-1:9092,SASL_SSL://kafka-2,[::1]:9092`.

    Raises:
        Misconfigured: the list has no server, or one of another form; names it.
    """
    servers = [_parse_server(part.strip()) for part in text.split(",") if part.strip()]
    if not servers:
        raise _refused(text, "it has no server")
    protocols = {server.protocol for server in servers}
    if len(protocols) > 1:
        raise _refused(text, "all servers must have the same protocol")
    return servers


def _parse_server(text: str) -> Server:
    match = _SERVER.fullmatch(text)
    if match is None:
        raise _refused(text, "it is not the address of a server")
    protocol = (match["protocol"] or "").upper()
    if protocol and protocol not in PROTOCOLS:
        raise _refused(text, f"accepted protocols are {', '.join(PROTOCOLS)}")
    port = int(match["port"] or DEFAULT_PORT)
    if not 0 < port < 65_536:
        raise _refused(text, "a port is a number from 1 to 65535")
    return Server(match["ipv6"] or match["host"], port, protocol)


def _refused(text: str, reason: str) -> Misconfigured:
    return Misconfigured(
        f"AVILA_KAFKA_BOOTSTRAP: {text!r} is not accepted, {reason}; accepted are servers such as "
        "kafka-1:9092,kafka-2:9092, PLAINTEXT://kafka:9092 or [::1]:9092"
    )
