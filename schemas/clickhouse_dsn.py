"""The address of a ClickHouse server as users write it."""

from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from schemas.errors import Misconfigured

_PORTS: Final = {"http": 8123, "https": 8443}


class ClickHouseAddress(NamedTuple):
    """A server, and who uses which database there; what is empty is not in the address."""

    scheme: str
    host: str
    port: int
    user: str = ""
    password: str = ""
    database: str = ""

    def __repr__(self) -> str:
        return f"ClickHouseAddress({self.scheme}://{self.host}:{self.port}/{self.database})"


def parse_dsn(text: str) -> ClickHouseAddress:
    """Return the parts of `https://user:password@host:8443/database`; an IPv6 host has brackets.

    Raises:
        Misconfigured: the address has another form; does not show it, as it may have a password.
    """
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise _refused(str(error)) from None
    if url.scheme not in _PORTS:
        raise _refused("its scheme is another one")
    if not url.hostname:
        raise _refused("it has no host")
    if url.query or url.fragment:
        raise _refused("options after a question mark or # are not read")
    database = unquote(url.path.strip("/"))
    if "/" in database:
        raise _refused("its path is more than the name of a database")
    return ClickHouseAddress(
        url.scheme,
        f"[{url.hostname}]" if ":" in url.hostname else url.hostname,
        port or _PORTS[url.scheme],
        unquote(url.username or ""),
        unquote(url.password or ""),
        database,
    )


def _refused(reason: str) -> Misconfigured:
    return Misconfigured(
        "AVILA_CLICKHOUSE_DSN must be an http:// or https:// address of ClickHouse's HTTP "
        f"interface, such as http://user:password@host:8123/avila; {reason}"
    )
