"""Requests as an endpoint passes them to a format, without an endpoint."""

from services.ingest.formats import Request
from services.ingest.limits import Limits


def request(
    path: str,
    body: bytes,
    *,
    method: str = "POST",
    content_type: str = "application/json",
    query: bytes = b"",
    headers: dict[bytes, bytes] | None = None,
) -> Request:
    """Return a request with the default limits."""
    held: list[int] = []
    return Request(
        method=method,
        path=path,
        query=query,
        headers=headers or {},
        content_type=content_type,
        body=body,
        client_ip="127.0.0.1",
        limits=Limits(),
        grow=held.append,
    )
