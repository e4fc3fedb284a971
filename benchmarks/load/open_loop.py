"""Latency at a constant rate: requests are sent when they are due, answered or not the others."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np

from benchmarks.bench import ROOT, console
from benchmarks.load.stream_client import Given

GOAL_MS: Final = 10.0
STREAMS: Final = 4
_WARM_UP_S: Final = 2.0
_KEPT: Final = 0.99
_STEP: Final = 1.25
_HALVINGS: Final = 4
_TRIES: Final = 2
_TIMEOUT: Final = "5s"
# Far more than wait for an answer while the service keeps up; without it the machine is lost.
_MAX_WORKERS: Final = 1_000


class Latency(NamedTuple):
    """The latencies at one rate, after a warm-up.

    `p99_ms` is counted as vegeta does, from when a request went out; `due_p99_ms` from when it was
    due, which adds what the load generator itself was late. For gRPC streams both are the latter.
    `trouble` says why these figures do not count, "" if they do.
    """

    p50_ms: float
    p99_ms: float
    due_p99_ms: float
    trouble: str

    @property
    def good(self) -> bool:
        """Whether all requests were answered in time."""
        return not self.trouble and self.p99_ms < GOAL_MS


Paced = Callable[[int, float], Latency]  # requests a second, seconds


def by_vegeta(vegeta: Path, targets: Path) -> Paced:
    """Measure with these targets."""

    def measure(rate: int, seconds: float) -> Latency:
        found = targets.with_suffix(".results")
        attack = [str(vegeta), "attack", "-format=json", f"-targets={targets}", f"-output={found}"]
        attack += [f"-rate={rate}/s", f"-duration={_WARM_UP_S + seconds}s", f"-timeout={_TIMEOUT}"]
        attack += [f"-max-workers={_MAX_WORKERS}", "-http2=false", "-max-body=0"]
        subprocess.run(attack, check=True, cwd=ROOT)
        encode = [str(vegeta), "encode", "-to=csv", str(found)]
        text = subprocess.run(encode, check=True, capture_output=True, text=True).stdout
        return _read(text, rate, seconds)

    return measure


def _read(text: str, rate: int, seconds: float) -> Latency:
    """Read vegeta's results: time, status, latency (ns), two sizes, error, body, number."""
    rows = list(csv.reader(text.splitlines()))
    at, ns, number = (np.array([int(row[n]) for row in rows]) for n in (0, 2, 8))
    due = number * 1_000_000_000 // rate
    due += (at - due).min()
    counts = number >= rate * _WARM_UP_S
    errors = [row[5] or row[1] for row in rows if row[1] != "200"]
    trouble = ""
    if errors:
        trouble = f"{len(errors)} of {len(rows)} requests failed: {errors[0]}"
    elif counts.sum() < _KEPT * rate * seconds:
        trouble = f"the load generator sent {counts.sum() / seconds:,.0f} requests a second"
    if not counts.any():
        return Latency(np.nan, np.nan, np.nan, trouble)
    p50, p99 = np.percentile(ns[counts], [50, 99]) / 1e6
    due_p99 = np.percentile((at + ns - due)[counts], 99) / 1e6
    return Latency(float(p50), float(p99), float(due_p99), trouble)


def by_streams(targets: Path, address: str, key: str) -> Paced:
    """Measure with these messages over gRPC streams."""

    def measure(rate: int, seconds: float) -> Latency:
        given = Given(
            address=address,
            key=key,
            targets=str(targets),
            streams=STREAMS,
            rate=rate,
            seconds=_WARM_UP_S + seconds,
        )
        found = json.loads(
            subprocess.run(
                stream_command(given), check=True, stdout=subprocess.PIPE, cwd=ROOT
            ).stdout
        )
        latencies = [ms for ms in found["latencies_ms"][int(rate * _WARM_UP_S) :] if ms is not None]
        if not latencies:
            return Latency(np.nan, np.nan, np.nan, found["trouble"] or "nothing was answered")
        p50, p99 = np.percentile(latencies, [50, 99]).tolist()
        return Latency(p50, p99, p99, found["trouble"])

    return measure


def stream_command(given: Given) -> list[str]:
    """Return the command of the process that loads streams."""
    client = "benchmarks.load.stream_client"
    return [sys.executable, "-m", client, msgspec.json.encode(given).decode()]


def highest(measure: Paced, start: int, seconds: float) -> int:
    """Return the highest good rate: from `start` up in steps of a quarter, down by halves; or 0.

    A rate has two tries: on a shared machine one of them may meet somebody else's work.
    """

    def holds(rate: int) -> bool:
        for _ in range(_TRIES):
            found = measure(rate, seconds)
            console.print(f"  {rate:>7,} requests/s  p99 {found.p99_ms:.1f} ms  {found.trouble}")
            if found.good:
                return True
        return False

    rate = start
    if holds(rate):
        while holds(higher := round(rate * _STEP)):
            rate = higher
        return rate
    lower = (start >> halvings for halvings in range(1, _HALVINGS + 1))
    return next(filter(holds, lower), 0)
