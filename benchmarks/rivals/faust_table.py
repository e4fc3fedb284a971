"""Plain Faust, exactly once: a count by key in a Table of its own, in memory, with a changelog."""

import os

import faust

app = faust.App(
    "rival-faust-table",
    broker=f"kafka://{os.environ['RIVAL_BOOTSTRAP']}",
    broker_commit_interval=0.2,
    consumer_auto_offset_reset="earliest",
    processing_guarantee="exactly_once",
    store="memory://",
    topic_disable_leader=True,
    topic_partitions=int(os.environ["RIVAL_PARTITIONS"]),
    topic_replication_factor=1,
    web_enabled=False,
    datadir=os.environ["RIVAL_DIRECTORY"],
)
events = app.topic(os.environ["RIVAL_TOPIC"], key_serializer="raw", value_serializer="raw")
written: "faust.Schema[bytes, int]" = faust.Schema(key_serializer="raw", value_serializer="json")
counts = app.Table("counts", default=int, schema=written)


@app.agent(events)
async def count(stream: faust.StreamT[bytes]) -> None:
    """Count by key."""
    async for key, _ in stream.items():  # noqa: PERF102 (no dict: it has no keys)
        counts[key] += 1
