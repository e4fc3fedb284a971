"""Whether the process is alive, ready for requests, and what of the system answers now."""

import asyncio
import time
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
_HELD_S: Final = 2.0

Check = Callable[[], Awaitable[str]]


class Alive(msgspec.Struct, frozen=True):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Readiness(msgspec.Struct, frozen=True):
    """Whether the service is ready; `checks` has `ok` or the reason why not, for each part."""

    status: Literal["ready", "unready"]
    checks: dict[str, str]


class Health:
    """Answers `/healthz`, `/readyz` and `/health`.

    `checks` decide whether the service is ready. `parts` are others that `/health` shows, or checks
    of the same name that are stricter.
    """

    def __init__(
        self,
        topic_views: Sequence[TopicView[Any]],
        checks: Mapping[str, Check],
        parts: Mapping[str, Check],
    ) -> None:
        self._topic_views = topic_views
        self._checks = checks
        self._parts = {**checks, **parts}
        self._asking = asyncio.Lock()
        self._held: Readiness | None = None
        self._held_until = 0.0

    async def alive(self, _: Request) -> Response:
        """Answer a liveness probe."""
        return Response(msgspec.json.encode(Alive()), media_type="application/json")

    async def ready(self, _: Request) -> Response:
        """Answer a readiness probe: 200 if all checks pass, else 503."""
        found = await self._ask(self._checks)
        status = 200 if found.status == "ready" else 503
        return Response(msgspec.json.encode(found), status, media_type="application/json")

    async def parts(self, _: Request) -> Response:
        """Show what answers now, and what does not; up to two seconds old, for all who ask."""
        async with self._asking:
            if self._held is None or time.monotonic() > self._held_until:
                self._held = await self._ask(self._parts)
                self._held_until = time.monotonic() + _HELD_S
        return Response(msgspec.json.encode(self._held), media_type="application/json")

    async def _ask(self, asked: Mapping[str, Check]) -> Readiness:
        found = await asyncio.gather(*(_within(check) for check in asked.values()))
        checks = {f"view {view.name}": view.trouble or "ok" for view in self._topic_views}
        checks |= {name: trouble or "ok" for name, trouble in zip(asked, found, strict=True)}
        ready = all(state == "ok" for state in checks.values())
        return Readiness("ready" if ready else "unready", checks)


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
