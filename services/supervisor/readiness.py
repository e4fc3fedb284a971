"""Whether the parts of a system can be used, and what each that cannot is doing."""

import urllib.error
from http import HTTPStatus
from typing import Final

import msgspec

from schemas.settings import (
    INGEST_PORT,
    NOTIFIER_PORT,
    QUERY_PORT,
    REGISTRY_PORT,
    SINK_PORT,
    STORE_PORT,
    Settings,
)
from services.worker import get, worker_unready

_CALL_TIMEOUT_S: Final = 5.0
_ENDPOINTS: Final = {
    "store": (STORE_PORT, "/ping"),
    "sink": (SINK_PORT, "/healthz"),
    "ingest": (INGEST_PORT, "/readyz"),
    "query": (QUERY_PORT, "/readyz"),
    "notifier": (NOTIFIER_PORT, "/readyz"),
    "registry": (REGISTRY_PORT, "/readyz"),
}


class _Readiness(msgspec.Struct):
    checks: dict[str, str]


def unready(settings: Settings, name: str) -> str:
    """Return what the part is doing before it can be used; nothing once it can. Blocks briefly."""
    if name == "worker":
        return worker_unready(settings)
    if name not in _ENDPOINTS:
        return ""
    port, path = _ENDPOINTS[name]
    return _ask(f"http://{settings.local_address(port)}{path}")


def _ask(url: str) -> str:
    try:
        get(url, timeout_s=_CALL_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        return _reason(error.read()) or HTTPStatus(error.code).phrase
    except OSError:
        return "starting"
    return ""


def _reason(body: bytes) -> str:
    """Return why a service is not ready: from its checks, or the first line of its text."""
    try:
        checks = msgspec.json.decode(body, type=_Readiness).checks
    except msgspec.DecodeError:
        return body.decode("utf-8", "replace").strip().partition("\n")[0]
    return "; ".join(f"{name}: {state}" for name, state in checks.items() if state != "ok")
