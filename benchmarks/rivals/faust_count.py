"""Plain Faust on its own aiokafka driver: an agent that counts, and keeps no state."""

import os

import faust

app = faust.App(
    "rival-faust",
    broker=f"kafka://{os.environ['RIVAL_BOOTSTRAP']}",
    broker_commit_interval=0.2,
    consumer_auto_offset_reset="earliest",
    topic_disable_leader=True,
    web_enabled=False,
    value_serializer="raw",
    datadir=os.environ["RIVAL_DIRECTORY"],
)
events = app.topic(os.environ["RIVAL_TOPIC"], key_serializer="raw", value_serializer="raw")
count = 0


@app.agent(events)
async def counts(stream: faust.StreamT[bytes]) -> None:
    """Count records."""
    global count  # noqa: PLW0603
    async for _ in stream:
        count += 1
