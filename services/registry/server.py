"""The registry as a process: what `avila registry` runs."""

from typing import Any, Final

import structlog
import uvicorn

from schemas.errors import Misconfigured
from schemas.registry.log import Registry
from schemas.settings import REGISTRY_PORT, Settings
from services.access_log import AccessLog
from services.connections import Connection
from services.keys.view import Keys, read_keys
from services.listening import listen
from services.registry.access import Access, TokenAccess
from services.registry.app import make_registry_app
from services.topic_view import TopicView
from services.topics import ensure_topics

log = structlog.get_logger(__name__)

# Shorter than the time-outs of clients, so that they receive the reason.
_BROKER_TIMEOUT_S: Final = 30
_STOP_TIMEOUT_S: Final = 5
# Each request waits for the broker on one of a few threads; beyond this many the answer is 503.
_MAX_REQUESTS: Final = 500


def run_registry(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; requests then have five seconds to end.

    Raises:
        Misconfigured: the port is taken, the topic differs from its declaration, or the deployment
            uses another registry.
        Unavailable: the broker does not answer at the start.
    """
    if settings.schema_registry_url:
        raise Misconfigured(
            "AVILA_SCHEMA_REGISTRY_URL names another registry: unset it to run this one"
        )
    ensure_topics(
        settings.cluster,
        [settings.topics.schemas, settings.topics.definitions],
        partitions=settings.partitions,
        replication_factor=settings.replication_factor,
    )
    port = settings.port(REGISTRY_PORT)
    registry = Registry(settings.cluster, settings.topics.schemas.name, timeout_s=_BROKER_TIMEOUT_S)
    with listen(settings.host, port, "schema registry") as listener:
        log.info("schema registry listens", host=settings.host, port=port)
        keys = Keys()
        view = TopicView(
            "definitions",
            settings.cluster,
            [settings.topics.definitions.name],
            read_keys,
            keys.apply,
        )
        access = TokenAccess(keys, view.require, settings.topics)
        make_server(registry, access, AccessLog(settings.access_log), view).run(sockets=[listener])


def make_server(
    registry: Registry,
    access: Access,
    log: AccessLog | None = None,
    keys_view: TopicView[Any] | None = None,
) -> uvicorn.Server:
    """Return a server for the API, to be run on a socket; see `make_registry_app`."""
    return uvicorn.Server(
        uvicorn.Config(
            make_registry_app(registry, log or AccessLog("none"), access, keys_view),
            http=Connection,
            loop="uvloop",
            ws="none",
            proxy_headers=False,
            access_log=False,
            log_config=None,
            server_header=False,
            limit_concurrency=_MAX_REQUESTS,
            timeout_graceful_shutdown=_STOP_TIMEOUT_S,
        )
    )
