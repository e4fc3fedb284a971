"""The Faust app of a worker, and what its settings mean to the epochs."""

import faust

from pipelines.worker.epoch_settings import MAX_RECORDS, EpochSettings
from pipelines.worker.shutdown import exit_after
from schemas.cluster import Cluster
from schemas.settings import host_and_port

_DEFAULT_PORT = 9092


class App(faust.App):
    """An app without Faust's data directory, whose stop takes a bounded time.

    `cluster` is the cluster that it uses instead of the servers in its URL.
    """

    cluster: Cluster | None = None

    def _create_directories(self) -> None:
        pass

    async def stop(self) -> None:
        """Stop in order; the process ends within seconds even if Kafka does not answer."""
        if not self.client_only:
            exit_after()
        await super().stop()


def settings_of(app: faust.types.AppT) -> EpochSettings:
    """Return how the app's worker reads and commits."""
    conf = app.conf
    return EpochSettings(
        cluster=(isinstance(app, App) and app.cluster) or _servers(app),
        group=conf.id,
        transactional_id=f"{conf.id}.{conf.broker_client_id}",
        client_id=conf.broker_client_id,
        max_records=conf.broker_max_poll_records or MAX_RECORDS,
        commit_interval_ms=round(conf.broker_commit_interval * 1000),
        session_timeout_ms=round(conf.broker_session_timeout * 1000),
    )


def _servers(app: faust.types.AppT) -> str:
    """Return the servers of the app's URL as a bootstrap address."""
    return ",".join(
        host_and_port(url.host or "127.0.0.1", url.port or _DEFAULT_PORT)
        for url in app.transport.url
    )
