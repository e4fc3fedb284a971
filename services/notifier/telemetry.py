"""What the notifier tells Prometheus, and whether it is ready."""

from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.notifier.loops import KafkaLoop

REGISTRY: Final = CollectorRegistry()
SENT: Final = Counter(
    "avila_notifier_sent",
    "Requests to receivers, by whether they were taken.",
    ["outcome"],
    registry=REGISTRY,
)
EVALUATED: Final = Counter(
    "avila_notifier_evaluated",
    "Evaluations of alerts, by whether something could be measured.",
    ["outcome"],
    registry=REGISTRY,
)
_PROMETHEUS: Final = "text/plain; version=1.0.0; charset=utf-8"


def make_notifier_app(loops: Sequence[KafkaLoop]) -> Starlette:
    """Return the application that answers `/healthz`, `/readyz` and `/metrics`."""

    async def ready(_: Request) -> Response:
        checks = {one.name: "ok" if one.ready else "waits for partitions" for one in loops}
        whole = all(one.ready for one in loops)
        return JSONResponse({"checks": checks}, 200 if whole else 503)

    async def alive(_: Request) -> Response:
        return Response("ok\n")

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(REGISTRY), media_type=_PROMETHEUS)

    return Starlette(
        routes=[Route("/healthz", alive), Route("/readyz", ready), Route("/metrics", metrics)]
    )
