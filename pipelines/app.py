"""The topology of the worker, top to bottom: `faust -A pipelines.app worker`.

avila.inbox ─▶ tracker ─▶ avila.events ─▶ analytics ─▶ the result topics of all operators
                                              └──────▶ avila.examples ─▶ trainer ─▶ avila.models
"""

from functools import cache
from typing import cast

import faust

from pipelines.engine.analytics import Analytics
from pipelines.kafka.records import Records
from pipelines.kafka.topic_limits import TopicLimits
from pipelines.operators import OPERATORS
from pipelines.tracker.tracker import Tracker
from pipelines.trainer.model_codec import RecordCodec
from pipelines.trainer.trainer import Trainer
from pipelines.worker import telemetry
from pipelines.worker.app import App
from pipelines.worker.gc_tuning import settle
from pipelines.worker.messages import Columns
from pipelines.worker.precompile import precompile, warn_of_late_compiles
from pipelines.worker.tables import TableManager
from schemas.idle_memory import return_memory_when_idle
from schemas.logs import configure_logs
from schemas.registry.client import open_registry
from schemas.settings import read_settings

configure_logs()
settings = read_settings()
topics = settings.topics

app = App(
    settings.app_id,
    broker="columnar://",
    broker_client_id=settings.worker_name,
    broker_commit_interval=settings.commit_interval_ms / 1000,
    broker_max_poll_records=settings.epoch_max_records,
    broker_session_timeout=settings.session_timeout_ms / 1000,
    TableManager="pipelines.worker.tables:TableManager",
    topic_disable_leader=True,
    web_enabled=False,
    worker_redirect_stdouts=False,
)
app.cluster = settings.cluster

tables = cast(TableManager, app.tables)
tables.snapshot_interval_s = settings.snapshot_interval_s
tables.positions_topic = topics.positions.name
tables.missing_offsets = settings.missing_offsets
tracker = tables.add(Tracker(settings, tables.outbox))
analytics = tables.add(Analytics(settings, tables.outbox, OPERATORS))
trainer = tables.add(Trainer(settings, tables.outbox))

inbox = app.topic(topics.inbox.name, schema=Columns())
events = app.topic(topics.events.name, schema=Columns())
examples = app.topic(topics.examples.name, schema=Columns())


@app.on_worker_init.connect
def connect(*_: object, **__: object) -> None:
    """Connect before the first record comes; Faust sends this signal twice."""
    _connect()


@cache
def _connect() -> None:
    telemetry.serve(settings)
    TopicLimits(settings.cluster).check(topics)
    precompile()
    warn_of_late_compiles()
    registry = open_registry(settings)
    tracker.connect(registry)
    analytics.connect(registry)
    trainer.connect(registry, RecordCodec(registry, topics.models.name))
    settle()
    return_memory_when_idle()


@app.agent(inbox)
async def track(batches: faust.StreamT[Records]) -> None:
    """Validate events, correct their clocks and drop duplicates."""
    async for records in batches:
        tracker.fold(records)


@app.agent(events)
async def analyse(batches: faust.StreamT[Records]) -> None:
    """Evaluate every definition for the persons of these events."""
    async for records in batches:
        analytics.process(records)


@app.agent(examples)
async def train(batches: faust.StreamT[Records]) -> None:
    """Learn the questions that are due."""
    async for records in batches:
        trainer.fold(records)
