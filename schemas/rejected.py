"""Records of `avila.rejected`: what was not accepted, why, and where it came from.

A record may be as large as the broker allows, and its copy with headers would be larger. So long
values, keys and headers are cut. The header `length` has the length of the value as received, and
topic, partition and offset lead to the whole record for as long as the inbox keeps it.
"""

import time
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

MAX_VALUE_BYTES: Final = 65_536
MAX_KEY_BYTES: Final = 1_024
MAX_HEADER_BYTES: Final = 16_384  # of the record's own headers; those that follow are left out
MAX_DETAIL_CHARS: Final = 1_000

# The project of a record of which nothing else is known, as of a CloudEvent that names none.
DEFAULT_PROJECT: Final = "default"

Header: TypeAlias = tuple[str, str | bytes | None]


# Separates our headers from the record's own, which may have the same names.
_OWN_END: Final = "received"


class Rejected(NamedTuple):
    """What to write to `avila.rejected`."""

    key: bytes | None
    value: bytes | None
    headers: list[Header]


class Origin(NamedTuple):
    """Where a record was read from."""

    topic: str
    partition: int
    offset: int


def rejected(
    origin: Origin,
    reason: str,
    detail: str,
    key: bytes | None,
    value: bytes | None,
    own_headers: Iterable[Header] = (),
    project: str = "",
) -> Rejected:
    """Return the record for one that is not accepted; its own headers follow ours.

    Without `project`, the key of the record says which project it is of.
    """
    headers: list[Header] = [
        ("reason", reason),
        ("detail", detail[:MAX_DETAIL_CHARS]),
        ("topic", origin.topic),
        ("partition", str(origin.partition)),
        ("offset", str(origin.offset)),
        ("length", str(len(value or b""))),
        ("rejected_at", str(time.time_ns() // 1_000_000)),
    ]
    if project:
        headers.append(("project", project))
    headers.append((_OWN_END, ""))
    room = MAX_HEADER_BYTES
    for name, content in own_headers:
        data = content.encode() if isinstance(content, str) else content or b""
        room -= len(name.encode()) + len(data)
        if room < 0:
            break
        headers.append((name, content))
    return Rejected(
        None if key is None else key[:MAX_KEY_BYTES],
        None if value is None else value[:MAX_VALUE_BYTES],
        headers,
    )


def own_fields(headers: Iterable[Header]) -> dict[str, str]:
    """Return our headers of a rejected record, without those that it came with."""
    fields: dict[str, str] = {}
    for name, content in headers:
        if name == _OWN_END:
            break
        text = content.decode(errors="replace") if isinstance(content, bytes) else content or ""
        fields.setdefault(name, text)
    return fields


def received_headers(headers: Iterable[Header]) -> list[Header]:
    """Return the headers that a rejected record came with, without ours."""
    given = iter(headers)
    for name, _ in given:
        if name == _OWN_END:
            break
    return list(given)
