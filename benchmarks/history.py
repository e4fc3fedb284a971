"""The figures of all runs: `benchmarks/history.jsonl`, and the page that draws them.

A benchmark that is run with `--record` appends a line. `python -m benchmarks.history` writes
`docs/benchmarks.md` from all lines.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import msgspec

_FILE: Final = Path(__file__).with_name("history.jsonl")
_PAGE: Final = Path(__file__).parents[1] / "docs" / "benchmarks.md"
_RECORD: Final = "--record"
_LOAD: Final = round(os.getloadavg()[0], 1)  # before the benchmark adds its own
_BARS: Final = "▁▂▃▄▅▆▇█"
_MAX_RUNS: Final = 20
_HEAD: Final = """\
# Benchmarks, run by run

Each line is a figure of a benchmark in its latest run. The bars draw its last 20 runs, the oldest
on the left, each relative to the largest of them. Figures of different processors are not
comparable; ratios are. A run is named by its commit; `+` means that the tree had uncommitted
changes. The load is the machine's average before the run: much above 0 means that other work took
part of the cores.

To rerun a benchmark and record it, on a machine that does nothing else:

    make setup
    .tools/bin/uv sync --locked --group bench
    .venv/bin/python -m benchmarks.memory --record
    .venv/bin/python -m benchmarks.history

`make bench` runs most of them without recording. All figures of all runs are in
[`benchmarks/history.jsonl`](../benchmarks/history.jsonl); [performance.md](performance.md) explains
what they mean.
"""


class Run(msgspec.Struct, kw_only=True):
    """One run of a benchmark."""

    benchmark: str
    at: str
    commit: str  # with a `+` if the tree had uncommitted changes
    processor: str
    cores: int
    load: float  # average of the machine over a minute, before the run
    arguments: list[str]
    figures: dict[str, Any]  # whatever the benchmark measures: numbers, or groups of numbers


def benchmark_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of a benchmark's command line, with `--record`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(_RECORD, action="store_true", help="add the figures to history.jsonl")
    return parser


def publish(figures: Mapping[str, Any]) -> None:
    """Print the figures as one line of JSON; with `--record`, append the run to the history."""
    print(json.dumps(figures))
    if _RECORD in sys.argv[1:]:
        run = Run(
            benchmark=Path(sys.argv[0]).stem,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            commit=_commit(),
            processor=_processor(),
            cores=len(os.sched_getaffinity(0)),
            load=_LOAD,
            arguments=[argument for argument in sys.argv[1:] if argument != _RECORD],
            figures=dict(figures),
        )
        with _FILE.open("ab") as file:
            file.write(msgspec.json.encode(run) + b"\n")


def page(runs: Sequence[Run]) -> str:
    """Return the page that draws all runs, in Markdown."""
    parts = [_HEAD]
    for (name, processor), several in groupby(
        sorted(runs, key=lambda run: (run.benchmark, run.processor, run.at)),
        key=lambda run: (run.benchmark, run.processor),
    ):
        parts.append(_section(name, processor, list(several)[-_MAX_RUNS:]))
    return "\n".join(parts)


def _section(name: str, processor: str, runs: Sequence[Run]) -> str:
    last = runs[-1]
    command = " ".join([f"python -m benchmarks.{name}", *last.arguments])
    lines = [
        f"## {name}",
        "",
        f"`{command}`, {processor}, {last.cores} cores.",
        f"Latest run: `{last.commit}`, {last.at}, load {last.load}.",
        "",
        "| figure | latest | first | runs |",
        "|---|--:|--:|---|",
    ]
    numbers = [dict(_numbers(run.figures)) for run in runs]
    for figure, latest in numbers[-1].items():
        history = [found[figure] for found in numbers if figure in found]
        lines.append(f"| {figure} | {latest:,g} | {history[0]:,g} | {_bars(history)} |")
    return "\n".join([*lines, ""])


def _numbers(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield all numbers with their names; those in a group are named by the path to them."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name} ")
        elif isinstance(value, list):
            yield from _numbers(
                {str(at): one for at, one in enumerate(value, 1)}, f"{prefix}{name} "
            )
        elif isinstance(value, int | float):
            yield prefix + name, float(value)


def _bars(values: Sequence[float]) -> str:
    most = max(*values, 1e-9)
    return "".join(_BARS[round(max(value, 0) / most * (len(_BARS) - 1))] for value in values)


def read_runs() -> list[Run]:
    """Return all runs that were recorded, in order.

    Raises:
        msgspec.ValidationError: a line is no run; the text names the field.
    """
    if not _FILE.exists():
        return []
    return [msgspec.json.decode(line, type=Run) for line in _FILE.read_bytes().splitlines()]


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=_FILE.parent, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":!history.jsonl")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return "unknown processor"


if __name__ == "__main__":
    _PAGE.write_text(page(read_runs()), "utf-8")
