"""A Kafka cluster as clients reach it: its address, and the properties to connect with."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias

_NONE: Final[Mapping[str, str]] = {}


class Cluster(NamedTuple):
    """An address and librdkafka's properties for it; its text is the address alone."""

    bootstrap: str
    properties: Mapping[str, str] = _NONE

    def __str__(self) -> str:
        return self.bootstrap

    def __repr__(self) -> str:
        return f"Cluster({self.bootstrap!r}, {sorted(self.properties)})"


# A plain address is a cluster without security.
Address: TypeAlias = Cluster | str


def client_config(cluster: Address, own: Mapping[str, object]) -> dict[str, Any]:
    """Return the configuration of a client of `cluster`.

    `own` are the client's properties. Those of the cluster take precedence: settings cannot contain
    a property on which a promise depends (`schemas.kafka_properties`).
    """
    properties = cluster.properties if isinstance(cluster, Cluster) else _NONE
    return {"bootstrap.servers": str(cluster), **own, **properties}
