"""Throughput: a client process that sends the next request as soon as one is answered."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import psutil

from benchmarks.bench import ROOT, Timed, cpu_s, ends
from benchmarks.load.open_loop import STREAMS, stream_command
from benchmarks.load.stream_client import Given
from schemas.settings import Settings

# Requests under way at once: enough that the service always has some to work on.
UNANSWERED: Final = 64
_WARM_UP_S: Final = 3.0


def http_command(targets: Path) -> list[str]:
    """Return the command of the process that loads an HTTP endpoint."""
    return [sys.executable, "-m", "benchmarks.load.http_client", str(targets), str(UNANSWERED)]


def streams_command(targets: Path, address: str, key: str) -> list[str]:
    """Return the command of the process that loads gRPC streams."""
    window = UNANSWERED // STREAMS
    return stream_command(
        Given(address=address, key=key, targets=str(targets), streams=STREAMS, window=window)
    )


def saturate(
    settings: Settings,
    service: psutil.Process,
    topic: str,
    command: list[str],
    *,
    size: int,
    seconds: float,
) -> Timed:
    """Time a service under the load of `command`, whose requests have `size` events each.

    Raises:
        RuntimeError: something was refused, or acknowledged and is not on the topic.
    """
    held = sum(ends(settings, topic).values())
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as client:
        try:
            _answered(client)  # it has begun
            time.sleep(_WARM_UP_S)
            cpu, began, begin = cpu_s(service), time.monotonic(), _answered(client)
            time.sleep(seconds)
            cpu, took, end = cpu_s(service) - cpu, time.monotonic() - began, _answered(client)
            assert client.stdin
            client.stdin.close()
            client.wait(30)
        finally:
            client.kill()
    written = sum(ends(settings, topic).values()) - held
    if written < end * size:
        raise RuntimeError(f"{end * size} events were acknowledged, {written} are on {topic}")
    events = (end - begin) * size
    if not events:
        raise RuntimeError(f"nothing was acknowledged in {seconds} s")
    return Timed(events / took, 1e6 * cpu / events)


def _answered(client: "subprocess.Popen[str]") -> int:
    assert client.stdin
    assert client.stdout
    client.stdin.write("\n")
    client.stdin.flush()
    taken, refused = map(int, client.stdout.readline().split() or (0, -1))
    if refused:
        raise RuntimeError(f"{refused} requests were refused" if refused > 0 else "no more load")
    return taken
