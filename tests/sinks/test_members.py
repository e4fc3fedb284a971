"""Who is in which segment, in ClickHouse: as avila.segments has it, with the names of segments."""

import contextlib
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from confluent_kafka import Producer

from schemas.avro.codec import Encoder
from schemas.operators.segment import SEGMENT, SegmentDefinition, decode_segment
from schemas.registry.log import Registry
from schemas.settings import Settings
from services.sql.limits import statement_settings
from services.sql.views import PROJECT_PARAMETER, view_queries
from sinks.base import Batch, boot_clock_s
from sinks.connection import connect
from sinks.member_rows import CHANGE, MEMBER_ROWS
from sinks.members import MembersSink
from tests.sinks.deliveries import wait_for
from tests.sinks.processes import SinkProcess
from tests.sinks.tables import query

AT_MS: Final = 1_762_000_000_000
Move = tuple[str, str, str, bool | None]


def definition(name: str, version: int, project: str = "shop", id_: str = "buyers") -> bytes:
    """Return the record of a segment with a name."""
    segment = decode_segment(json.dumps({"name": name, "rule": {"performed": {}}}).encode())
    return SEGMENT.encode(
        SegmentDefinition(
            project_id=project,
            id=id_,
            version=version,
            created_at=0,
            updated_at=0,
            segment=segment,
            rule=segment.rule,
        )
    )


class Topics:
    """Writes moves and definitions as the worker and the query service do: in transactions."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = SEGMENT.changes[0].topic(settings.topics).name
        with Registry(settings.bootstrap) as registry:
            schema_id = registry.register(f"{self._topic}-value", CHANGE)
        self._encoder = Encoder(CHANGE, schema_id)
        self._producer = Producer(
            {
                "bootstrap.servers": settings.bootstrap,
                "transactional.id": f"{self._topic}-worker",
                "log_level": 0,
            }
        )
        self._producer.init_transactions(60)
        self._at = AT_MS

    def move(self, *moves: Move, commit: bool = True) -> None:
        """Write project, segment and person, and whether the person is in; None is a tombstone."""
        made = [self._change(*move[:3], entered=bool(move[3])) for move in moves]
        values = self._encoder.encode(pa.RecordBatch.from_pylist(made, schema=CHANGE.arrow))
        self._producer.begin_transaction()
        for (project, segment, person, is_in), value in zip(moves, values, strict=True):
            partition = sum(person.encode()) % self._settings.partitions
            key = f"{project}/{segment}/{person}".encode()
            self._producer.produce(
                self._topic, None if is_in is None else value, key, partition=partition
            )
        if commit:
            self._producer.commit_transaction(60)
        else:
            self._producer.flush(60)
            self._producer.abort_transaction(60)

    def define(self, key: str, value: bytes | None) -> None:
        """Write a record of the definitions topic."""
        self._producer.begin_transaction()
        self._producer.produce(self._settings.topics.definitions.name, value, key.encode())
        self._producer.commit_transaction(60)

    def _change(self, project: str, segment: str, person: str, *, entered: bool) -> dict[str, Any]:
        self._at += 1
        return {
            "project_id": project,
            "segment_id": segment,
            "version": 1,
            "person_id": person,
            "change": "entered" if entered else "left",
            "at": self._at,
            "event_at": None,
        }


def members(settings: Settings) -> dict[tuple[str, str, str], str]:
    """Return the names of segments by project, segment and member."""
    rows = query(
        settings,
        "SELECT project_id, segment_id, person_id, name "
        f"FROM {settings.clickhouse_database}.segments",
    )
    found = {(str(a), str(b), str(c)): str(name) for a, b, c, name in rows}
    assert len(found) == len(rows)
    return found


def read_as(settings: Settings, project: str, columns: str) -> Sequence[Sequence[Any]]:
    """Return the rows of the view that SQL of a project has."""
    database = settings.clickhouse_database
    with contextlib.closing(connect(settings, timeout_s=60, name="tests")) as client:
        return client.query(
            f"SELECT {columns} FROM ({view_queries(database)['segments']}) ORDER BY ALL",
            parameters={PROJECT_PARAMETER: project},
            settings=statement_settings(database, project),
        ).result_rows


def rows(*made: Mapping[str, Any]) -> Batch:
    """Return a batch of rows of `segment_members`."""
    common = {"project_id": "shop", "segment_id": "buyers", "version": 1, "entered_at": AT_MS}
    columns = pa.RecordBatch.from_pylist(
        [{**common, "_partition": 0, "_deleted": 0, **one} for one in made], schema=MEMBER_ROWS
    )
    return Batch("segments", 0, 0, 0, 0, columns, boot_clock_s(), again=False)


def test_the_newest_record_of_a_person_says_whether_the_person_is_in(database: Settings) -> None:
    sink = MembersSink(database)
    sink.setup()
    left = {"person_id": "ann", "_offset": 7, "_deleted": 1}
    sink.write(rows({"person_id": "ann", "_offset": 5}, {"person_id": "bob", "_offset": 6}))
    assert {person for _, _, person in members(database)} == {"ann", "bob"}
    sink.write(rows(left))
    sink.write(rows({"person_id": "ann", "_offset": 5}))  # as a zombie does
    assert {person for _, _, person in members(database)} == {"bob"}
    sink.write(rows({"person_id": "ann", "_offset": 9, "version": 2}))
    assert {person for _, _, person in members(database)} == {"ann", "bob"}
    sink.close()


def test_the_view_ends_as_the_topics_and_shows_a_project_its_own_rows(
    deployment: Settings, tmp_path: Path
) -> None:
    topics = Topics(deployment)
    topics.define("shop/segment/buyers", definition("Buyers", 1))
    topics.define("shop/segment/broken", b"{")
    topics.define("shop/plan/home", b"{}")
    topics.define("elsewhere/segment/buyers", definition("Secret", 1, "elsewhere"))
    MembersSink(deployment).setup()
    made = random.Random(5)
    expected: dict[tuple[str, str, str], bool] = {}
    for number in range(20):
        moves: list[Move] = []
        for _ in range(20):
            project, segment = made.choice(["shop", "elsewhere"]), made.choice(["buyers", "broken"])
            person, is_in = f"u/{made.randrange(30)}", made.choice([True, True, False, None])
            moves.append((project, segment, person, is_in))
        topics.move(*moves, commit=number % 4 != 0)
        if number % 4:
            expected |= {move[:3]: bool(move[3]) for move in moves}
    names = {("shop", "buyers"): "Buyers", ("elsewhere", "buyers"): "Secret"}
    wanted = {key: names.get(key[:2], "") for key, is_in in expected.items() if is_in}
    with SinkProcess(deployment, tmp_path / "log") as sink:
        wait_for(lambda: members(deployment) == wanted, "the members")
        sink.kill()
    topics.define("shop/segment/buyers", definition("Those who buy", 2))
    topics.move(("shop", "buyers", "new", True))
    with SinkProcess(deployment, tmp_path / "log") as sink:
        renamed = {key: "Those who buy" for key in wanted if key[:2] == ("shop", "buyers")}
        wanted |= renamed | {("shop", "buyers", "new"): "Those who buy"}
        wait_for(lambda: members(deployment) == wanted, "the new member and name")
        assert sink.stop(timeout_s=120) == 0, sink.output
    own = read_as(deployment, "shop", "segment_id, person_id, name")
    assert {tuple(row) for row in own} == {
        (segment, person, name)
        for (project, segment, person), name in wanted.items()
        if project == "shop"
    }
    ((least, most),) = read_as(deployment, "elsewhere", "min(entered_at), max(name)")
    assert (int(least.timestamp() * 1_000) > AT_MS, most) == (True, "Secret")
