"""A usual ingest service: Starlette, msgspec, aiokafka.

It takes our batches, checks them by their types, and answers when each event is on the broker. Its
producer has the settings of ours but for the size of its batches, which is aiokafka's own as long
as `RIVAL_BATCH_BYTES` does not tell another: with the one that is small, what waits for a batch to
be sent is most of its work.
"""

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any

import msgspec
import uvicorn
from aiokafka import AIOKafkaProducer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

TOPIC = os.environ["RIVAL_TOPIC"]
PROJECTS = {f"Bearer {os.environ['RIVAL_KEY']}": os.environ["RIVAL_PROJECT"]}

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Event(msgspec.Struct):
    """One event."""

    event: Name
    distinct_id: Name
    timestamp: datetime
    event_id: uuid.UUID = msgspec.field(default_factory=uuid.uuid4)
    properties: dict[str, Any] = {}


class Batch(msgspec.Struct):
    """One request."""

    events: list[Event]
    sent_at: datetime | None = None


class Stored(msgspec.Struct):
    """One event as it is on the topic."""

    project_id: str
    received_at: float
    event: Event


decoder = msgspec.json.Decoder(Batch)
encoder = msgspec.json.Encoder()
producer: AIOKafkaProducer


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """Start a producer; stop it when the service ends."""
    global producer  # noqa: PLW0603 (there is one of it, as people write it)
    producer = AIOKafkaProducer(
        bootstrap_servers=os.environ["RIVAL_BOOTSTRAP"],
        acks="all",
        enable_idempotence=True,
        linger_ms=1,
        compression_type="lz4",
        max_batch_size=int(os.environ.get("RIVAL_BATCH_BYTES", "16384")),
    )
    async with producer:
        yield


async def track(request: Request) -> Response:
    """Produce a batch; answer when it is acknowledged."""
    project = PROJECTS.get(request.headers.get("authorization", ""))
    if project is None:
        return Response(status_code=401)
    try:
        batch = decoder.decode(await request.body())
    except msgspec.ValidationError as error:
        return Response(str(error), status_code=400)
    now = time.time()
    await asyncio.gather(
        *(
            producer.send_and_wait(
                TOPIC,
                encoder.encode(Stored(project, now, event)),
                f"{project}:{event.distinct_id}".encode(),
            )
            for event in batch.events
        )
    )
    results = [{"event_id": event.event_id, "result": "ok"} for event in batch.events]
    return Response(encoder.encode({"results": results}), media_type="application/json")


async def ready(_: Request) -> Response:
    """Answer that the service runs."""
    return Response("ready\n")


app = Starlette(
    routes=[Route("/v1/events", track, methods=["POST"]), Route("/readyz", ready)],
    lifespan=lifespan,
)

if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["RIVAL_PORT"]), access_log=False, log_level="warning")
