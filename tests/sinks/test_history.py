"""Results over time, from the topics of all operators to the store: one row a minute."""

import contextlib
import itertools
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from confluent_kafka import Producer

from schemas.avro.codec import Encoder
from schemas.avro.files import load
from schemas.operators import BY_NAME, OPERATORS, OperatorSpec
from schemas.registry.log import Registry
from schemas.settings import Settings
from sinks.deliveries import parts
from sinks.history import HistorySink
from sinks.history_rows import figure_names
from tests.sinks.deliveries import wait_for
from tests.sinks.processes import SinkProcess
from tests.sinks.tables import query

AT_MS = 1_762_000_000_000 // 60_000 * 60_000
# The figures of each operator are public: they are in the answers of `history`.
FIGURES = {
    "funnel": ["reached", "entries", "late_dropped"],
    "cohort": ["persons", "returned", "returned_or_later", "late_dropped"],
    "segment": ["entered", "left", "late_dropped"],
    "metric": ["events", "unmeasured", "sum", "minimum", "maximum", "persons", "late_dropped"],
    "prediction": ["asked", "capped", "sampled_out", "late_triggers", "open", "late_dropped"],
}


def record(spec: OperatorSpec, at: int, **values: Any) -> dict[str, Any]:
    """Return a record of aggregates, empty but for some values."""
    made: dict[str, Any] = {}
    for field in load(spec.aggregates.schema).arrow:
        if field.nullable:
            made[field.name] = None
        elif pa.types.is_list(field.type):
            made[field.name] = []
        else:
            made[field.name] = "" if pa.types.is_string(field.type) else 0
    made |= {"project_id": "shop", f"{spec.name}_id": "one", "version": 1}
    return made | {"updated_at": at, **values}


def produce(settings: Settings, spec: OperatorSpec, *records: tuple[str, Any]) -> None:
    """Write records of aggregates with the last two parts of their keys."""
    topic, schema = spec.aggregates.topic(settings.topics).name, load(spec.aggregates.schema)
    with Registry(settings.bootstrap) as registry:
        encoder = Encoder(schema, registry.register(f"{topic}-value", schema))
    producer = Producer({"bootstrap.servers": settings.bootstrap, "log_level": 0})
    for place, value in records:
        encoded = None
        if value is not None:
            (encoded,) = encoder.encode(pa.RecordBatch.from_pylist([value], schema=schema.arrow))
        partition = int(place.rsplit("/", 1)[1])
        producer.produce(topic, encoded, f"shop/one/1/{place}".encode(), partition)
    assert producer.flush(60) == 0


def rows(settings: Settings) -> list[tuple[Any, ...]]:
    """Return the rows that remain when all are merged."""
    table = f"{settings.clickhouse_database}.result_history"
    return [
        (kind, period, int(partition), int(minute.timestamp()) * 1_000, figures)
        for kind, period, partition, minute, figures in query(
            settings,
            "SELECT kind, period, _partition, minute, figures "
            f"FROM {table} FINAL ORDER BY kind, period, _partition, minute",
        )
    ]


def test_figures_are_the_numbers_of_a_record_that_count() -> None:
    for spec in OPERATORS:
        assert figure_names(load(spec.aggregates.schema).arrow) == FIGURES[spec.name]


def test_the_last_record_of_each_minute_is_kept_for_every_operator(
    deployment: Settings, tmp_path: Path
) -> None:
    # So that rows of the past are kept.
    settings = msgspec.structs.replace(deployment, result_history_days=36_500)
    HistorySink(settings).setup()
    funnel, segment = BY_NAME["funnel"], BY_NAME["segment"]
    for spec in OPERATORS:
        produce(settings, spec, ("total/0", record(spec, AT_MS, late_dropped=7)))
    produce(
        settings,
        funnel,
        ("20000/1", record(funnel, AT_MS + 1_000, reached=[5, 2])),
        ("20000/1", record(funnel, AT_MS + 2_000, reached=[6, 2])),
        ("20000/1", record(funnel, AT_MS + 61_000, reached=[9, 4])),
        ("20000/1", None),
    )
    produce(settings, segment, ("total/0", record(segment, AT_MS + 59_999, entered=3, left=1)))
    plain = {"late_dropped": 7.0}
    expected = [
        ("cohort", "total", 0, AT_MS, plain | {"persons": 0.0}),
        ("funnel", "20000", 1, AT_MS, {"reached.1": 6.0, "reached.2": 2.0, "late_dropped": 0.0}),
        (
            *("funnel", "20000", 1, AT_MS + 60_000),
            {"reached.1": 9.0, "reached.2": 4.0, "late_dropped": 0.0},
        ),
        ("funnel", "total", 0, AT_MS, plain),
        ("metric", "total", 0, AT_MS, plain | {"events": 0.0, "unmeasured": 0.0, "sum": 0.0}),
        (
            *("prediction", "total", 0, AT_MS),
            plain | dict.fromkeys(("asked", "capped", "sampled_out", "late_triggers"), 0.0),
        ),
        ("segment", "total", 0, AT_MS, {"entered": 3.0, "left": 1.0, "late_dropped": 0.0}),
    ]
    with SinkProcess(settings, tmp_path / "log") as sink:
        wait_for(lambda: rows(settings) == expected, "the rows")
        assert sink.stop(timeout_s=120) == 0, sink.output


def test_how_long_rows_are_kept_is_a_setting(database: Settings) -> None:
    for days in (90, 7):
        settings = msgspec.structs.replace(database, result_history_days=days)
        with contextlib.closing(HistorySink(settings)) as sink:
            sink.setup()
        ((made,),) = query(
            settings,
            "SELECT create_table_query FROM system.tables WHERE name = 'result_history' "
            f"AND database = '{settings.clickhouse_database}'",
        )
        assert f"TTL minute + toIntervalDay({days})" in str(made)


def test_no_days_keep_nothing() -> None:
    names = [part.name for part in parts(Settings(result_history_days=0))]
    kept = [part.name for part in parts(Settings())]
    history = {f"history-{spec.plural}" for spec in OPERATORS}
    assert set(kept) - set(names) == history
    assert not list(itertools.filterfalse(kept.__contains__, names))
