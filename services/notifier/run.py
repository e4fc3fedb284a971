"""The process of `avila notifier`."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

import structlog
import uvicorn

from schemas.registry.client import open_registry
from schemas.settings import NOTIFIER_PORT, Settings
from services.alerts.client import QueryClient
from services.alerts.evaluator import Evaluator
from services.alerts.observe import Ask
from services.listening import listen
from services.notifier.loops import KafkaLoop
from services.notifier.telemetry import make_notifier_app
from services.webhooks.deliverer import Deliverer
from services.webhooks.router import Router
from services.webhooks.senders import Sender

log = structlog.get_logger(__name__)

_STOP_TIMEOUT_S: Final = 5.0
_CHECK_S: Final = 0.2


def run_notifier(settings: Settings) -> None:
    """Evaluate alerts and deliver notices until SIGTERM or SIGINT.

    Several processes share the work. Without Kafka they wait.

    Raises:
        Misconfigured: the port is taken, or a topic does not exist.
    """
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    port = settings.port(NOTIFIER_PORT)
    with listen(settings.host, port, "notifier") as listener:
        async with notifying(settings) as loops:
            config = uvicorn.Config(
                make_notifier_app(loops), log_config=None, access_log=False, ws="none"
            )
            server = QuietServer(config)
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            log.info("notifier listens", host=settings.host, port=port)
            while not stop.is_set() and not serving.done():
                _raise_failure(loops)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _CHECK_S)
            server.should_exit = True
            await serving


class QuietServer(uvicorn.Server):
    """A server that leaves signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle no signal."""
        yield


@contextlib.asynccontextmanager
async def notifying(
    settings: Settings, ask: Ask | None = None
) -> AsyncIterator[Sequence[KafkaLoop]]:
    """Run the loops inside the block; yields them.

    `ask` is asked for figures in place of the query service at the settings' address.
    """
    client = QueryClient(settings)
    ask = client if ask is None else ask
    registry = open_registry(settings)
    sender = Sender(settings)
    loops: Sequence[KafkaLoop] = (
        Router(settings, registry),
        Deliverer(settings, sender, asyncio.get_running_loop()),
        Evaluator(settings, registry, asyncio.get_running_loop(), ask),
    )
    for one in loops:
        one.start()
    try:
        yield loops
    finally:
        for one in loops:
            one.stop()
        for one in loops:
            await asyncio.to_thread(one.join, _STOP_TIMEOUT_S)
        sender.close()
        await client.close()
        registry.close()


def _raise_failure(loops: Sequence[KafkaLoop]) -> None:
    for one in loops:
        if one.failure is not None:
            raise one.failure
