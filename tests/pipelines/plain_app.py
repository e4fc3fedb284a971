"""A Faust app as its users write them, on the columnar transport.

Two agents read one topic: one takes columns, the other single messages, as on any transport. Both
say on another topic what they have seen.
"""

from typing import cast

import faust

from pipelines.kafka.records import Records
from pipelines.worker.messages import Columns
from pipelines.worker.tables import TableManager
from schemas.settings import read_settings

settings = read_settings()

app = faust.App(
    settings.app_id,
    broker=f"columnar://{settings.bootstrap}",
    broker_client_id=settings.worker_name,
    TableManager="pipelines.worker.tables:TableManager",
    datadir=str(settings.data_dir / "faust"),
    topic_disable_leader=True,
    web_enabled=False,
    worker_redirect_stdouts=False,
)
tables = cast(TableManager, app.tables)
inbox = settings.topics.inbox.name
columns = app.topic(inbox, schema=Columns())
messages = app.topic(
    inbox, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
)
seen = app.topic(settings.topics.rejected.name, value_serializer="raw")


@app.agent(columns)
async def by_columns(batches: faust.StreamT[Records]) -> None:
    """Take all of a fetch at once."""
    async for records in batches:
        for value in records.values:
            await seen.send(value=b"column " + (value or b""))


@app.agent(messages)
async def one_by_one(stream: faust.StreamT[bytes]) -> None:
    """Take a message at a time."""
    async for value in stream:
        await seen.send(value=b"message " + value)
