"""Whether the process is alive, and whether it is ready for requests."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from starlette.requests import Request
from starlette.responses import Response

from schemas.cluster import Address, client_config
from services.topic_view import TopicView

_CHECK_TIMEOUT_S: Final = 3.0

Check = Callable[[], Awaitable[str]]


class Alive(msgspec.Struct, frozen=True):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Readiness(msgspec.Struct, frozen=True):
    """Whether the service is ready; `checks` has `ok` or the reason why not, for each part."""

    status: Literal["ready", "unready"]
    checks: dict[str, str]


class Health:
    """Answers `/healthz` and `/readyz`."""

    def __init__(self, topic_views: Sequence[TopicView[Any]], checks: Mapping[str, Check]) -> None:
        self._topic_views = topic_views
        self._checks = checks

    async def alive(self, _: Request) -> Response:
        """Answer a liveness probe."""
        return Response(msgspec.json.encode(Alive()), media_type="application/json")

    async def ready(self, _: Request) -> Response:
        """Answer a readiness probe: 200 if all checks pass, else 503."""
        found = await asyncio.gather(*(_within(check) for check in self._checks.values()))
        checks = {f"view {view.name}": view.trouble or "ok" for view in self._topic_views}
        checks |= {name: trouble or "ok" for name, trouble in zip(self._checks, found, strict=True)}
        ready = all(state == "ok" for state in checks.values())
        body = msgspec.json.encode(Readiness("ready" if ready else "unready", checks))
        return Response(body, 200 if ready else 503, media_type="application/json")


def broker_check(cluster: Address) -> Check:
    """Return a check that fails while the broker does not answer."""
    admin = AdminClient(client_config(cluster, {"log_level": 0}))

    async def check() -> str:
        try:
            await asyncio.to_thread(admin.list_topics, timeout=_CHECK_TIMEOUT_S)
        except KafkaException as error:
            return f"Kafka at {cluster} does not answer: {error.args[0].str()}"
        return ""

    return check


async def _within(check: Check) -> str:
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            return await check()
    except TimeoutError:
        return f"no answer within {_CHECK_TIMEOUT_S:.0f} s"
