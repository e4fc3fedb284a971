"""Flags as SDKs ask for them: `python -m benchmarks.flags`.

One ingest process follows a segment of 200,000 members, and a project has twenty flags of it, with
shares and variants. Requests as posthog-js makes them come at a constant rate, each when it is due
whether or not earlier ones are answered, from a process of its own; half of the persons are
members. Figures: the latency from when a request was due, and the CPU time that the service takes
for one.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from typing import Any, Final

import httpx
import msgspec
import numpy as np
import psutil
from confluent_kafka import Producer

from benchmarks.bench import (
    PROJECT,
    ROOT,
    console,
    cpu_s,
    define,
    environment_of,
    parts_of,
    process,
    system,
    until,
)
from schemas.avro.codec import Encoder
from schemas.avro.files import load
from schemas.flags import FlagDefinition, decode_flag
from schemas.operators.segment import SEGMENT, SegmentDefinition, decode_segment
from schemas.registry.log import Registry
from schemas.registry.subjects import value_subject
from schemas.settings import INGEST_PORT, Settings
from services.keys.admin import run_with_key_admin

MEMBERS: Final = 200_000
FLAGS: Final = 20
_WARM_UP_S: Final = 2.0
_BATCH: Final = 10_000
_CONNECTIONS: Final = 64
_HEAD: Final = (
    b"POST /flags/?v=2 HTTP/1.1\r\nHost: %b\r\nContent-Type: text/plain\r\n"
    b"Content-Length: %d\r\n\r\n"
)
_READY_TIMEOUT_S: Final = 300.0
_SERVICE: Final = [sys.executable, "-m", "services", "ingest"]
_BUYERS: Final = {"rule": {"performed": {"event": "buy"}}}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--ask", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ask:
        print(json.dumps(asyncio.run(ask(*json.loads(given.ask)))))
        return
    with system() as settings:
        key = furnish(settings)
        place = (settings.host, settings.port(INGEST_PORT))
        url = "http://{}:{}".format(*place)
        with process(_SERVICE, environment_of(settings)) as service:
            until(lambda: is_ready(url), _READY_TIMEOUT_S)
            figures = measure(service, place, key, given.rate, given.seconds)
            figures["rss_mb"] = round(service.memory_info().rss / 1e6)
    console.print(
        f"{given.rate} requests/s: p50 {figures['p50_ms']:.1f} ms, p99 {figures['p99_ms']:.1f} ms, "
        f"{figures['cpu_us']:.0f} µs CPU a request, {figures['failed']} failed"
    )
    print(json.dumps(figures))


def is_ready(url: str) -> bool:
    """Whether the service knows who is in the segment."""
    try:
        return httpx.get(f"{url}/readyz", timeout=30).is_success
    except httpx.TransportError:
        return False


def furnish(settings: Settings) -> str:
    """Define the segment and its flags, and publish its members; return a write key."""
    segment = decode_segment(msgspec.json.encode(_BUYERS))
    define(
        settings,
        [
            SegmentDefinition(
                **parts_of("segment", 0) | {"id": "buyers"}, segment=segment, rule=segment.rule
            ),
            *(
                FlagDefinition(**parts_of("flag", number), flag=decode_flag(flag_of(number)))
                for number in range(FLAGS)
            ),
        ],
    )
    topic = SEGMENT.changes[0].topic(settings.topics).name
    schema = load("segment-change")
    with Registry(settings.cluster) as registry:
        encoder = Encoder(schema, registry.register(value_subject(topic), schema))
    values = encoder.encode_records(
        {
            "project_id": PROJECT,
            "segment_id": "buyers",
            "version": 1,
            "person_id": f"person-{number}",
            "change": "entered",
            "at": 0,
            "event_at": None,
        }
        for number in range(MEMBERS)
    )
    producer = Producer({"bootstrap.servers": settings.bootstrap})
    for number, value in enumerate(values):
        producer.produce(topic, value, f"{PROJECT}/buyers/person-{number}")
        if number % _BATCH == 0:
            producer.poll(0.1)
    assert not producer.flush(60)
    return run_with_key_admin(settings, lambda admin: admin.create_write_key(PROJECT)).id


def flag_of(number: int) -> bytes:
    """Return a flag; every second has variants."""
    variants = [{"key": "a", "payload": {"width": number}}, {"key": "b"}] if number % 2 else []
    return msgspec.json.encode(
        {
            "key": f"flag-{number}",
            "segment": "buyers",
            "rollout_percentage": 50,
            "variants": variants,
        }
    )


def measure(
    service: psutil.Process, place: tuple[str, int], key: str, rate: int, seconds: float
) -> dict[str, Any]:
    """Ask at a constant rate, after a warm-up."""
    run_asking(place, key, rate, _WARM_UP_S)
    before = cpu_s(service)
    found = run_asking(place, key, rate, seconds)
    cpu = cpu_s(service) - before
    p50, p99 = np.percentile(found["latencies_ms"], [50, 99]).tolist()
    return {
        "p50_ms": p50,
        "p99_ms": p99,
        "cpu_us": 1e6 * cpu / (rate * seconds),
        "failed": found["failed"],
    }


def run_asking(place: tuple[str, int], key: str, rate: int, seconds: float) -> dict[str, Any]:
    """Ask from a process of its own."""
    command = [sys.executable, "-m", "benchmarks.flags"]
    command += ["--ask", json.dumps([*place, key, rate, seconds])]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def ask(host: str, port: int, key: str, rate: int, seconds: float) -> dict[str, Any]:
    """Send each request when it is due; return the latencies since then."""
    latencies: list[float] = []
    failed = 0
    idle = [await asyncio.open_connection(host, port) for _ in range(_CONNECTIONS)]
    free = asyncio.Semaphore(_CONNECTIONS)

    async def one(number: int, due: float) -> None:
        nonlocal failed
        person = f"person-{number * 7_919 % (2 * MEMBERS)}"
        body = msgspec.json.encode(
            {"token": key, "distinct_id": person, "person_properties": {"plan": "pro"}}
        )
        async with free:
            reader, writer = idle.pop()
            writer.write(_HEAD % (host.encode(), len(body)) + body)
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            answer = await reader.readexactly(int(length))
            idle.append((reader, writer))
        latencies.append(1_000 * (time.perf_counter() - due))
        failed += not head.startswith(b"HTTP/1.1 200") or answer.count(b'"enabled"') != FLAGS

    async with asyncio.TaskGroup() as tasks:
        begin = time.perf_counter()
        for number in range(round(rate * seconds)):
            due = begin + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.create_task(one(number, due))
    for _, writer in idle:
        writer.close()
    return {"latencies_ms": latencies, "failed": failed}


if __name__ == "__main__":
    main()
