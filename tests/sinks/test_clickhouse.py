import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from schemas.errors import Misconfigured, Unavailable
from schemas.settings import Secret, Settings
from sinks.clickhouse import ClickHouseSink, Month
from sinks.store import WRITE_TIMEOUT_S
from tests.ports import free_ports
from tests.sinks.events import MONTH_MS, NOV_2025_MS, batch, event
from tests.sinks.tables import query

EVENTS = [event(number) for number in range(20)]


@pytest.fixture
def sink(database: Settings) -> Iterator[ClickHouseSink]:
    sink = ClickHouseSink(database)
    sink.setup()
    yield sink
    sink.close()


def select(settings: Settings, columns: str, tail: str = "ORDER BY _offset") -> list[Any]:
    rows = query(settings, f"SELECT {columns} FROM {settings.clickhouse_database}.events {tail}")
    return [row[0] if len(row) == 1 else row for row in rows]


def parts(settings: Settings) -> int:
    ((count,),) = query(
        settings,
        "SELECT count() FROM system.parts WHERE active AND table = 'events' "
        f"AND database = '{settings.clickhouse_database}'",
    )
    return int(count)


def test_every_column_holds_what_the_event_held(database: Settings, sink: ClickHouseSink) -> None:
    sink.write(batch(EVENTS[:2], first=7, partition=3))
    assert select(
        database,
        "toString(event_id), project_id, distinct_id, person_id, anonymous_id, session_id, event, "
        "toUnixTimestamp64Milli(timestamp), toUnixTimestamp64Milli(sent_at), "
        "toUnixTimestamp64Milli(received_at), properties.price, context, _partition, _offset, "
        "_properties",
    ) == [
        (
            *(e["event_id"], e["project_id"], e["distinct_id"], e["person_id"]),
            *(e["anonymous_id"], e["session_id"], e["event"], e["timestamp"], e["sent_at"]),
            *(e["received_at"], n, "{}", 3, 7 + n, ""),
        )
        for n, e in enumerate(EVENTS[:2])
    ]


def test_a_batch_is_one_part_in_every_month(database: Settings, sink: ClickHouseSink) -> None:
    sink.write(batch(EVENTS))
    assert parts(database) == 1
    late = [event(n, timestamp=NOV_2025_MS + n % 3 * MONTH_MS) for n in range(20)]
    sink.write(batch(late, first=20))
    assert parts(database) == 4


@pytest.fixture
def inserts(sink: ClickHouseSink, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many months each insert of the sink has written."""
    months: list[int] = []
    insert = sink._insert

    def counted(of: Sequence[Month], token: str, since_s: float) -> None:
        months.append(len(of))
        insert(of, token, since_s)

    monkeypatch.setattr(sink, "_insert", counted)
    return months


def test_rare_months_are_written_together_and_once(
    database: Settings, sink: ClickHouseSink, inserts: list[int]
) -> None:
    months = 26 * 12
    spread = [event(n, timestamp=NOV_2025_MS - n % months * MONTH_MS) for n in range(2 * months)]
    sink.write(batch(spread))
    present = len(set(select(database, "toYYYYMM(timestamp)")))
    assert (len(inserts), sum(inserts), parts(database)) == (7, present, present)
    # Written again by a process that cannot know, while the tokens are lost.
    sink.write(batch(spread, checksum=8, again=True))
    assert len(inserts) == 7
    assert len(select(database, "1")) == len(spread)


def test_only_the_months_that_are_missing_are_written_again(
    database: Settings, sink: ClickHouseSink, inserts: list[int]
) -> None:
    table = f"{database.clickhouse_database}.events"
    spread = [event(n, timestamp=NOV_2025_MS - n % 9 * MONTH_MS) for n in range(90)]
    sink.write(batch(spread))
    query(database, f"ALTER TABLE {table} DROP PARTITION 202511")
    assert len(select(database, "1")) == 80
    sink.write(batch(spread, checksum=8, again=True))
    assert inserts == [9, 1]
    assert len(select(database, "1")) == 90


def test_a_month_with_many_rows_has_an_insert_of_its_own(
    sink: ClickHouseSink, inserts: list[int]
) -> None:
    many = [event(n) for n in range(1_000)]
    rare = [event(n, timestamp=NOV_2025_MS - n * MONTH_MS) for n in range(1, 9)]
    sink.write(batch([*many, *rare]))
    assert sorted(inserts) == [1, 8]


def test_an_insert_that_comes_too_late_is_refused(database: Settings, sink: ClickHouseSink) -> None:
    planned = batch(EVENTS)
    late = planned._replace(planned_at_s=planned.planned_at_s - WRITE_TIMEOUT_S - 1)
    with pytest.raises(Unavailable, match="too late"):
        sink.write(late)
    assert select(database, "1") == []
    sink.write(late._replace(again=True))
    assert len(select(database, "1")) == 20


def test_a_part_whose_token_was_lost_is_not_written_again(
    database: Settings, sink: ClickHouseSink
) -> None:
    sink.write(batch(EVENTS, checksum=1))
    sink.write(batch(EVENTS, checksum=2, again=True))
    assert len(select(database, "1")) == 20


def test_names_of_any_text_are_found_again(database: Settings, sink: ClickHouseSink) -> None:
    names = ["", "it's", 'a"b', "\\t\t\\", "\n\r\0", "{x:String}", "ключ 😀", "%s", "unhex('')"]
    for number, name in enumerate(names):
        events = [event(0, project_id=name, event=name, person_id=name)]
        for checksum in (1, 2):
            sink.write(batch(events, first=number, checksum=checksum, again=True))
    assert select(database, "event") == names


def test_a_token_whose_part_was_lost_does_not_lose_the_rows(
    database: Settings, sink: ClickHouseSink
) -> None:
    sink.write(batch(EVENTS, first=100, last=200))
    sink.write(batch(EVENTS, first=300)._replace(first=100, last=200, again=True))
    assert len(select(database, "1")) == 40


def test_a_table_that_exists_is_left_as_it_is(database: Settings, sink: ClickHouseSink) -> None:
    table = f"{database.clickhouse_database}.events"
    query(database, f"ALTER TABLE {table} ADD COLUMN mine String DEFAULT 'x'")
    sink.setup()
    sink.write(batch(EVENTS[:1]))
    assert select(database, "mine") == ["x"]


@pytest.mark.parametrize(
    ("event_id", "kept"),
    [
        ("6BA7B810-9DAD-11D1-80B4-00C04FD430C8", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        ("order 17", "11f99307-74f9-8cfd-d9b2-305dab4e11e5"),
    ],
)
def test_an_event_id_is_a_uuid_or_the_hash_of_what_it_is(
    database: Settings, sink: ClickHouseSink, event_id: str, kept: str
) -> None:
    sink.write(batch([event(0, event_id=event_id)]))
    assert select(database, "toString(event_id)") == [kept]


@pytest.mark.parametrize(
    ("time_ms", "kept"),
    [
        (0, "1970-01-01 00:00:00.000"),
        (-1, "1969-12-31 23:59:59.999"),
        (4_102_444_800_000, "2100-01-01 00:00:00.000"),
        (-(2**63), "1900-01-01 00:00:00.000"),
        (2**63 - 1, "2299-12-31 23:59:59.999"),
    ],
)
def test_a_time_is_kept_or_the_nearest_that_can_be(
    database: Settings, sink: ClickHouseSink, time_ms: int, kept: str
) -> None:
    events = [event(0, timestamp=time_ms, sent_at=time_ms, received_at=time_ms), event(1)]
    for again in (False, True):
        sink.write(batch(events, again=again))
    first = select(
        database, "toString(timestamp), toString(sent_at), toString(received_at), _offset"
    )[0]
    assert first == (kept, kept, kept, 0)


# The text of a property's value, and what stands in the table if it is not the same.
SAME = [
    '{"a":9223372036854775807}',
    '{"a":18446744073709551615}',
    '{"a":-9223372036854775808}',
    '{"a":"NaN"}',
    '{"a":"2025-11-03"}',
    '{"a":"2025-11-03 10:00:00"}',
    '{"a":["2025-11-03"]}',
    '{"a":"0012"}',
    '{"a":true}',
    '{"a":[1,"x",null,{"b":1},[2]]}',
    '{"a":{"b":{"c":"d"}}}',
    '{"a.b":2,"a":{"b":1}}',
    '{"":1}',
    '{" ":1}',
    '{"a":"\\u0000"}',
    '{"a`b":1}',
    '{"a":"it\'s \\"so\\" \\\\ \\n"}',
    '{"a":"ключ"}',
    "{}",
]
CHANGED = [
    ('{"a":123456789012345678901234567890}', '{"a":"123456789012345678901234567890"}'),
    ('{"a":1,"a":2}', '{"a":1}'),
    ('{"a":null,"b":{}}', "{}"),
    ('{"a":1.0}', '{"a":1}'),
    ('{"a":"\\ud83d\\ude00"}', '{"a":"😀"}'),
]
REFUSED = [
    "",
    "{",
    "[1]",
    "17",
    '"text"',
    '{"a":NaN}',
    '{"a":1e400}',
    '{"a":"\\ud800"}',
    '{"a":"\x01"}',
    '{"a":' * 1_200 + "1" + "}" * 1_200,
    '{"a":' + "[" * 5_000 + "]" * 5_000 + "}",
]


def properties(settings: Settings) -> list[tuple[str, str]]:
    """The JSON of each row, and the text that could not be JSON."""
    return select(
        settings,
        "toJSONString(properties), _properties",
        "ORDER BY _offset SETTINGS json_type_escape_dots_in_keys = 1",
    )


def test_no_properties_block_the_sink_or_are_lost(database: Settings, sink: ClickHouseSink) -> None:
    texts = [*SAME, *(text for text, _ in CHANGED), *REFUSED]
    expected = [
        *((text, "") for text in SAME),
        *((kept, "") for _, kept in CHANGED),
        *(("{}", text) for text in REFUSED),
    ]
    sink.write(batch([event(n, properties=text) for n, text in enumerate(texts)]))
    found = properties(database)
    assert [(_canonical(kept), text) for kept, text in found] == [
        (_canonical(kept), text) for kept, text in expected
    ]


def _canonical(text: str) -> str:
    return json.dumps(json.loads(text), sort_keys=True)


def test_a_megabyte_of_properties_is_kept(database: Settings, sink: ClickHouseSink) -> None:
    long = json.dumps({"a": "x" * 1_000_000})
    wide = json.dumps({f"k{n}": n for n in range(50_000)})
    sink.write(batch([event(0, properties=long), event(1, properties=wide)]))
    kept = [(json.loads(found), text) for found, text in properties(database)]
    assert kept == [(json.loads(long), ""), (json.loads(wide), "")]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@hypothesis_settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    texts=st.lists(
        JSON.map(json.dumps) | JSON.map(lambda v: json.dumps({"a": v})) | st.text(), min_size=1
    )
)
def test_whatever_stands_in_properties_the_row_lands(
    database: Settings, sink: ClickHouseSink, texts: list[str]
) -> None:
    query(database, f"TRUNCATE TABLE {database.clickhouse_database}.events")
    texts = [text.encode(errors="replace").decode() for text in texts]
    events = [event(n, properties=text) for n, text in enumerate(texts)]
    sink.write(batch(events, checksum=hash(tuple(texts)) % 2**32))
    for (found, kept), text in zip(properties(database), texts, strict=True):
        assert kept in {"", text}
        assert found == "{}" or not kept


def test_numbers_stay_numbers_and_paths_are_columns(
    database: Settings, sink: ClickHouseSink
) -> None:
    text = '{"price":1.5,"count":3,"plan":"pro","geo":{"city":"Riga"},"geo.zip":"1"}'
    sink.write(batch([event(0, properties=text)]))
    ((price, count, plan, city, postcode),) = select(
        database,
        "properties.price, properties.count, properties.plan, properties.geo.city, "
        "properties.`geo%2Ezip`",
        "WHERE properties.price > 1 AND properties.plan = 'pro'",
    )
    assert math.isclose(price, 1.5)
    assert (count, plan, city, postcode) == (3, "pro", "Riga", "1")


def test_a_store_that_is_away_is_unavailable(database: Settings) -> None:
    (port,) = free_ports(1)
    dsn = f"http://127.0.0.1:{port}"
    sink = ClickHouseSink(msgspec.structs.replace(database, clickhouse_dsn=dsn))
    with pytest.raises(Unavailable, match="does not answer"):
        sink.setup()


def test_a_wrong_password_is_named_and_not_shown(database: Settings) -> None:
    dsn = database.clickhouse_dsn.replace("of%20the%20tests", "wrong")
    wrong = msgspec.structs.replace(
        database, clickhouse_dsn=dsn, clickhouse_password=Secret("secret")
    )
    with pytest.raises(Misconfigured, match="AVILA_CLICKHOUSE_DSN") as caught:
        ClickHouseSink(wrong).setup()
    assert "wrong" not in str(caught.value)
