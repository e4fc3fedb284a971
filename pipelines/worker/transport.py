"""The Faust transport that delivers columns: `columnar://host:port`.

An app whose cluster needs more than addresses, such as credentials, has them in `App.cluster`.

Faust's own drivers hand an agent one record at a time, at some 120 µs each. This transport hands it
all that one fetch returned of a topic-partition as one `Records` value, and acknowledges, writes
and commits in the lockstep of `pipelines.worker.epochs`. The rest is Faust's: the app, agents,
streams, topics, the worker and its commands.

    Kafka thread                            event loop
    Epochs.fetch() ──▶ [Records, …] ──▶ Conductor ──▶ the stream of every agent
         ▲                                                │ each batch acknowledged
         └────────── Consumer waits for all of them ◀─────┘

An agent gets columns if its topic has the `Columns` schema, and single events otherwise; any number
of both may read one topic.

Some methods that Faust calls do nothing here: only epochs commit offsets, so `commit` does nothing;
nothing is buffered between epochs, so `wait_empty` has nothing to wait for and `seek` nothing to
move. `pipelines.worker.tables` keeps the state, and the app must name its manager. Faust's own
tables are refused, because their recovery needs the methods that do nothing here.
"""

import functools

import faust
from faust.transport import base

from pipelines.worker.conductor import Columns, Conductor
from pipelines.worker.consumer import Consumer
from pipelines.worker.epoch_settings import MAX_RECORDS, EpochSettings
from pipelines.worker.producer import Producer
from pipelines.worker.shutdown import exit_after
from pipelines.worker.tables import TableManager
from schemas.cluster import Cluster
from schemas.settings import host_and_port

__all__ = ["App", "Columns", "Transport"]


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


class Transport(base.Transport):
    """Joins the parts; the app's settings say how a worker reads and commits.

    `broker_client_id` names the worker and is part of its transactional id: it must be the same
    when a worker is restarted, and differ between workers.
    """

    Consumer = Consumer
    Producer = Producer
    Conductor = Conductor
    default_port = 9092
    driver_version = "columnar"

    @functools.cached_property
    def settings(self) -> EpochSettings:
        """How the worker reads and commits."""
        conf = self.app.conf
        return EpochSettings(
            cluster=(isinstance(self.app, App) and self.app.cluster) or self._servers(),
            group=conf.id,
            transactional_id=f"{conf.id}.{conf.broker_client_id}",
            client_id=conf.broker_client_id,
            max_records=conf.broker_max_poll_records or MAX_RECORDS,
            commit_interval_ms=round(conf.broker_commit_interval * 1000),
            session_timeout_ms=round(conf.broker_session_timeout * 1000),
        )

    def _servers(self) -> str:
        """Return the servers of the app's URL as a bootstrap address."""
        return ",".join(
            host_and_port(url.host or "127.0.0.1", url.port or self.default_port)
            for url in self.url
        )

    @property
    def tables(self) -> TableManager:
        """The app's tables.

        Raises:
            ImproperlyConfigured: the app has another table manager.
        """
        tables = self.app.tables
        if not isinstance(tables, TableManager):
            raise faust.exceptions.ImproperlyConfigured(
                "the columnar transport needs an app with "
                "TableManager='pipelines.worker.tables:TableManager'"
            )
        return tables
