"""Scores in ClickHouse: the newest of each person, whatever is written again or comes late."""

import contextlib
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from schemas.avro.codec import Codec
from schemas.registry.log import Registry
from schemas.settings import Settings
from sinks.base import Batch, boot_clock_s
from sinks.clickhouse import ClickHouseSink
from sinks.delivery import Delivery
from sinks.partitions import Assigned
from sinks.predictions import MAX_AWAY_S, PredictionsSink
from sinks.rejects import Rejects
from sinks.score_rows import SCORE, SCORE_ROWS, decode_scores
from sinks.source import SourceSettings
from sinks.telemetry import Metrics
from tests.kafka import read_all
from tests.sinks.conftest import in_store
from tests.sinks.deliveries import TIMEOUT_S, wait_for
from tests.sinks.events import batch as events_batch
from tests.sinks.events import event
from tests.sinks.processes import SinkProcess
from tests.sinks.scores import (
    AT_MS,
    ScoreTopic,
    latest_in_store,
    latest_on_topic,
    score,
    topic_of,
)
from tests.sinks.tables import query
from tests.stores import new_store, remove_store


@pytest.fixture
def sink(database: Settings) -> Iterator[PredictionsSink]:
    sink = PredictionsSink(database)
    sink.setup()
    yield sink
    sink.close()


def batch(*rows: tuple[str, float | None, int], partition: int = 0) -> Batch:
    """Return persons with their scores at offsets; None is a tombstone."""
    made = [
        {
            **score(person, offset),
            "score": number or 0.0,
            "_partition": partition,
            "_offset": offset,
            "_deleted": int(number is None),
        }
        for person, number, offset in rows
    ]
    columns = pa.RecordBatch.from_pylist(made, schema=SCORE_ROWS)
    return Batch("predictions", partition, 0, 0, 0, columns, boot_clock_s(), again=False)


def shown(settings: Settings) -> dict[str, float]:
    return {key[2]: kept[2] for key, kept in latest_in_store(settings).items()}


# ── the table ────────────────────────────────────────────────────────────────────────────────────


def test_the_row_with_the_highest_offset_is_the_one_that_is_shown(
    database: Settings, sink: PredictionsSink
) -> None:
    sink.write(batch(("ann", 0.1, 5), ("ben", 0.2, 6), ("ann", 0.3, 7)))
    assert shown(database) == {"ann": 0.3, "ben": 0.2}
    sink.write(batch(("ben", 0.4, 9), ("cem", 0.5, 10)))
    sink.write(batch(("ann", 0.1, 5), ("ben", 0.2, 6)))  # as a zombie does
    assert shown(database) == {"ann": 0.3, "ben": 0.4, "cem": 0.5}


def test_a_tombstone_hides_the_scores_before_it_and_none_after(
    database: Settings, sink: PredictionsSink
) -> None:
    sink.write(batch(("ann", 0.1, 5), ("ben", 0.2, 6)))
    sink.write(batch(("ann", None, 7), ("ben", None, 8), ("ben", 0.9, 9)))
    assert shown(database) == {"ben": 0.9}
    sink.write(batch(("ann", 0.1, 5)))
    assert shown(database) == {"ben": 0.9}
    sink.write(batch(("ann", 0.7, 12)))
    assert shown(database) == {"ann": 0.7, "ben": 0.9}


def test_replaced_and_deleted_rows_leave_the_table_when_it_is_merged(
    database: Settings, sink: PredictionsSink
) -> None:
    table = f"{database.clickhouse_database}.predictions"
    for offset in range(4):
        sink.write(batch(("ann", 0.1 * offset, offset), ("ben", 0.5, 10 + offset)))
    sink.write(batch(("ben", None, 20)))
    query(database, f"OPTIMIZE TABLE {table} FINAL CLEANUP")
    assert query(database, f"SELECT person_id, _offset FROM {table}") == [("ann", 3)]


def test_a_table_that_is_quiet_is_cleaned_by_itself(
    database: Settings, sink: PredictionsSink
) -> None:
    table = f"{database.clickhouse_database}.predictions"
    sink.write(batch(("ann", 0.1, 1), ("ben", 0.5, 2)))
    sink.write(batch(("ann", None, 3)))
    query(database, f"ALTER TABLE {table} MODIFY SETTING min_age_to_force_merge_seconds = 1")
    wait_for(
        lambda: query(database, f"SELECT person_id FROM {table}") == [("ben",)], "the cleaning"
    )


def test_an_insert_that_comes_too_late_is_refused(
    database: Settings, sink: PredictionsSink
) -> None:
    planned = batch(("ann", 0.1, 1))
    with pytest.raises(Exception, match="too late"):
        sink.write(planned._replace(planned_at_s=planned.planned_at_s - 3_600))
    assert shown(database) == {}


def test_every_column_holds_what_the_record_held(database: Settings, sink: PredictionsSink) -> None:
    sink.write(batch(("it's\n{x:String}\\", 0.25, 5), ("ключ 😀/b", -1e300, 2), ("", 0.0, 3)))
    found = latest_in_store(database)
    assert found["shop", "buys", "ключ 😀/b"][:4] == (1, AT_MS + 2, -1e300, 2)
    expected = [
        (part["feature"], part["value"], part["contribution"])
        for part in score("any", 5)["contributions"]
    ]
    assert list(found["shop", "buys", "it's\n{x:String}\\"][4]) == expected
    assert len(found) == 3


def test_a_time_that_the_table_cannot_hold_is_the_nearest(
    database: Settings, sink: PredictionsSink
) -> None:
    far = batch(("ann", 0.1, 1), ("ben", 0.1, 2))
    at = pa.array([-(2**63), 2**63 - 1], pa.int64()).view(pa.timestamp("ms", "UTC"))
    place = far.rows.schema.get_field_index("at")
    sink.write(far._replace(rows=far.rows.set_column(place, SCORE_ROWS.field("at"), at)))
    years = {key[2]: kept[1] for key, kept in latest_in_store(database).items()}
    assert years["ann"] < 0 < years["ben"]


# ── where a partition is read from ───────────────────────────────────────────────────────────────


def test_a_sink_that_was_away_for_longer_than_tombstones_are_kept_reads_all_again(
    database: Settings, sink: PredictionsSink
) -> None:
    assert sink.begin(Assigned(0, -1, 0, 50)) == 0
    sink.write(batch(("ann", 0.1, 5), ("ben", 0.2, 6)))
    sink.write(batch(("cem", 0.3, 7), partition=1))
    assert sink.begin(Assigned(0, 40, 0, 50)) == 40
    assert sink.begin(Assigned(0, -1, 0, 50)) == 0
    assert len(shown(database)) == 3
    table = f"{database.clickhouse_database}.predictions"
    query(
        database,
        f"ALTER TABLE {table} UPDATE _written_at = _written_at - {MAX_AWAY_S + 60} WHERE 1 "
        "SETTINGS mutations_sync = 2",
    )
    assert sink.begin(Assigned(0, 40, 0, 50)) == 0
    assert shown(database) == {"cem": 0.3}


def test_rows_of_another_topic_are_deleted(database: Settings, sink: PredictionsSink) -> None:
    sink.write(batch(("ann", 0.1, 50)))
    assert sink.begin(Assigned(0, 40, 0, 50)) == 0
    assert shown(database) == {}


def test_a_store_that_lost_the_table_is_filled_again(sink: PredictionsSink) -> None:
    assert sink.begin(Assigned(0, 40, 0, 50)) == 0


# ── from the topic ───────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def delivering(settings: Settings, group: str = "scores") -> Iterator[Delivery]:
    """Deliver scores in a thread, within the block."""
    with Registry(settings.bootstrap) as registry:
        sink = PredictionsSink(settings)
        delivery = Delivery(
            SourceSettings(settings.bootstrap, topic_of(settings), group, 6_000, chunk_rows=300),
            sink,
            partial(decode_scores, Codec(SCORE, registry.find)),
            sink.begin,
            Rejects(settings.bootstrap, settings.topics.rejected.name),
            Metrics("avila_sink_predictions"),
        )
        thread = threading.Thread(target=delivery.run)
        thread.start()
        try:
            yield delivery
        finally:
            delivery.stop()
            thread.join(TIMEOUT_S)
        assert not thread.is_alive()


def await_same(settings: Settings) -> None:
    """Wait until the view has exactly the scores of the topic."""
    expected = latest_on_topic(settings)
    wait_for(lambda: latest_in_store(settings) == expected, "the delivery")


def test_the_view_has_what_the_topic_has_also_when_it_is_read_again(deployment: Settings) -> None:
    topic = ScoreTopic(deployment)
    topic.append_many(2_000)
    PredictionsSink(deployment).setup()
    with delivering(deployment):
        await_same(deployment)
        topic.append_many(600)
        await_same(deployment)
    # Another group, which begins at the beginning, beside newer rows.
    with delivering(deployment, "another"):
        topic.append([score("u1", 7_777, score=None), score("u2", 7_778)])
        await_same(deployment)


def test_a_prediction_that_is_deleted_leaves_nothing_and_a_new_version_replaces(
    deployment: Settings,
) -> None:
    topic = ScoreTopic(deployment)
    PredictionsSink(deployment).setup()
    persons = [f"u{n}" for n in range(20)]
    with delivering(deployment):
        topic.append([score(person, n) for n, person in enumerate(persons)])
        topic.append([score(one, n, prediction_id="leaves") for n, one in enumerate(persons)])
        await_same(deployment)
        topic.append([score(one, n, version=2) for n, one in enumerate(persons[:5])])
        topic.append([score(one, n, score=None) for n, one in enumerate(persons[5:])])
        await_same(deployment)
        assert {
            kept[0] for key, kept in latest_in_store(deployment).items() if key[1] == "buys"
        } == {2}
        topic.append([score(one, n, score=None) for n, one in enumerate(persons[:5])])
        await_same(deployment)
    assert {key[1] for key in latest_in_store(deployment)} == {"leaves"}


def test_what_cannot_be_read_is_rejected_and_stops_nothing(deployment: Settings) -> None:
    topic = ScoreTopic(deployment)
    PredictionsSink(deployment).setup()
    topic.append([score("u1", 1), score("u2", 2)])
    for key, value in [(b"shop/buys", None), (b"\xff/a/b", None), (b"shop/buys/u1", b"junk")]:
        topic.append_raw(key, value)
    topic.append([score("u2", 3, score=float("inf")), score("u4", 4)])
    with delivering(deployment):
        wait_for(lambda: set(shown(deployment)) == {"u1", "u4"}, "the delivery")
    rejected = read_all(deployment.bootstrap, deployment.topics.rejected.name)
    assert {message.key() for message in rejected} == {b"shop/buys", b"\xff/a/b", b"shop/buys/u1"}
    reasons = [str(dict(message.headers() or [])["reason"]) for message in rejected]
    assert sorted(reasons) == ["b'not_wire_format'", "b'undecodable'", "b'undecodable'"]


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_store_that_is_killed_and_comes_back_ends_as_the_topic(settings: Settings) -> None:
    process = new_store()
    process.start()
    try:
        deployment = in_store(settings, process)
        topic = ScoreTopic(deployment)
        PredictionsSink(deployment).setup()
        with delivering(deployment):
            for _ in range(2):
                topic.append_many(3_000)
                wait_for(lambda: len(latest_in_store(deployment)) > 0, "some rows")
                process.kill()
                topic.append([score("u1", 7_777, score=None), score("u2", 7_778)])
                process.start()
            await_same(deployment)
    finally:
        remove_store(process)


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_killed_at_any_time_the_view_ends_as_the_topic(
    deployment: Settings, tmp_path: Path
) -> None:
    # A store from before predictions were stored has the events' table only.
    before = ClickHouseSink(deployment)
    before.setup()
    before.write(events_batch([event(1)], first=1_000_000, partition=99))
    before.close()
    topic = ScoreTopic(deployment)
    thread = threading.Thread(target=topic.append_many, args=(20_000,))
    thread.start()

    def rows() -> int:
        table = f"{deployment.clickhouse_database}.predictions"
        try:
            ((found,),) = query(deployment, f"SELECT max(_offset) FROM {table}")
        except Exception:  # noqa: BLE001 - before there is a table
            return 0
        return int(found)

    def await_offset(offset: int) -> None:
        wait_for(lambda: rows() >= offset or not thread.is_alive(), "some rows")

    for _ in range(4):
        more = rows() + 1
        with SinkProcess(deployment, tmp_path / "log") as sink:
            await_offset(more)
            sink.kill()
    thread.join()
    with SinkProcess(deployment, tmp_path / "log") as sink:
        await_same(deployment)
        assert sink.stop(timeout_s=120) == 0, sink.output
    assert len(latest_in_store(deployment)) > 100
