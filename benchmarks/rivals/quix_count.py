"""Quix Streams, exactly once: a count by key in its state (RocksDB), with a changelog."""

import os
from typing import Any

from quixstreams import Application, State

app = Application(
    broker_address=os.environ["RIVAL_BOOTSTRAP"],
    consumer_group="rival-quix",
    auto_offset_reset="earliest",
    processing_guarantee="exactly-once",
    commit_interval=0.2,
    state_dir=os.environ["RIVAL_DIRECTORY"],
    loglevel="WARNING",
)
events = app.topic(os.environ["RIVAL_TOPIC"], key_deserializer="bytes", value_deserializer="bytes")


def count(_: Any, state: State) -> int:
    """Count by key."""
    seen = int(state.get("count", 0)) + 1
    state.set("count", seen)
    return seen


app.dataframe(events).apply(count, stateful=True)

if __name__ == "__main__":
    app.run()
