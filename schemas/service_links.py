"""The variables that Kubernetes puts into every container for each Service of its namespace.

A Service called `avila-kafka` becomes `AVILA_KAFKA_SERVICE_HOST`, `AVILA_KAFKA_PORT` and others.
They look like settings of ours, and are none.
"""

import re
from typing import Final

_HOST_OR_PORT: Final = re.compile(
    r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
# A short name, such as AVILA_PORT, is only such a variable if it has an address: a user may have
# meant something else by it.
_ADDRESS: Final = re.compile(r"(tcp|udp|sctp)://\S+:\d+")


def is_service_link(key: str, text: str) -> bool:
    """Return whether Kubernetes, and not a user, has set the variable."""
    if _HOST_OR_PORT.fullmatch(key):
        return True
    return key.endswith("_PORT") and _ADDRESS.fullmatch(text) is not None
