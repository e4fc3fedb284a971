"""The framing and compression of Native blocks, on the engine's own output."""

import asyncio
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import chdb
import httpx
import lz4.block  # type: ignore[import-untyped]
import pytest
import zstandard
from clickhouse_cityhash.cityhash import CityHash128
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.store.errors import StoreError
from services.store.native import BlockCompressor, BlockDecompressor, NativeFraming
from tests.stores import StoreProcess

INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"
INFO_WITH_BUCKETS = b"\x01\x00\x02\xff\xff\xff\xff\x03\x00\x00"
SETTINGS = (
    "SET enable_time_time64_type = 1, allow_suspicious_low_cardinality_types = 1, "
    "allow_experimental_qbit_type = 1, allow_suspicious_variant_types = 1"
)


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    connection = chdb.connect(":memory:")
    connection.query(SETTINGS)
    yield connection
    connection.close()


def frame(data: bytes, revision: int, cuts: Sequence[int] = ()) -> bytes:
    """Frame `data`, which arrives in pieces."""

    async def types() -> list[bytes]:
        return []

    async def run() -> bytes:
        framing = NativeFraming(revision, types)
        ends = [*sorted(cuts), len(data)]
        pieces = [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        framed = b"".join([await framing.frame(piece) for piece in pieces])
        assert framing.finish() == b""
        assert framing.settled or not data
        return framed

    return asyncio.run(run())


def varint(value: int) -> bytes:
    encoded = b""
    while value > 127:
        encoded += bytes([value & 127 | 128])
        value >>= 7
    return encoded + bytes([value])


def text_at(data: bytes, at: int) -> int:
    """Return where the string at `at` ends."""
    size = shift = 0
    while data[at] > 127:
        size |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
    return at + 1 + (size | data[at] << shift)


def blocks(engine: Any, types: Sequence[str], rows: int, seed: int) -> tuple[bytes, bytes]:
    """Return a block of random values of each type, and the same with a byte after each type.

    The columns are written one by one, so that nothing needs to know where their values end.
    """
    plain = framed = b""
    for number, name in enumerate(types):
        structure = f"c {name}".replace("\\", "\\\\").replace("'", "\\'")
        query = (
            f"SELECT c AS c{number} FROM generateRandom('{structure}', {seed + number}, 12, 3) "
            f"LIMIT {rows} SETTINGS max_block_size = 1000000, max_threads = 1"
        )
        column = engine.query(query, "Native").bytes()
        head = b"\x01" + varint(rows)
        assert column.startswith(head), name
        end_of_type = text_at(column, text_at(column, len(head)))
        plain += column[len(head) :]
        framed += column[len(head) : end_of_type] + b"\x00" + column[end_of_type:]
    head = varint(len(types)) + varint(rows)
    return head + plain, head + framed


SIMPLE = [
    *(f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64, 128, 256)),
    *("Float32", "Float64", "Bool", "UUID", "IPv4", "IPv6", "Date", "Date32"),
    *("DateTime", "DateTime('Asia/Tokyo')", "DateTime64(3)", "DateTime64(9, 'UTC')"),
    *("Decimal(9, 2)", "Decimal(18, 3)", "Decimal(38, 4)", "Decimal(76, 5)"),
    *("Enum8('a(,' = 1, 'b\\'' = -2)", "Enum16('x)' = 300)", "FixedString(5)", "String"),
]
KEYS = ["String", "UInt16", "Date", "FixedString(3)", "LowCardinality(String)"]
DICTIONARIES = ["String", "Nullable(String)", "UInt32", "Nullable(Date)", "FixedString(2)"]


def containers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    elements = st.lists(inner, min_size=1, max_size=3)
    names = st.permutations(["a", "`b c`", "`d,)`"])
    return st.one_of(
        inner.map("Array({})".format),
        elements.map(lambda found: f"Tuple({', '.join(found)})"),
        st.tuples(elements, names).map(
            lambda found: "Tuple({})".format(
                ", ".join(f"{name} {kind}" for kind, name in zip(*found, strict=False))
            )
        ),
        st.tuples(st.sampled_from(KEYS), inner).map(lambda found: f"Map({found[0]}, {found[1]})"),
    )


TYPES = st.recursive(
    st.one_of(
        st.sampled_from(SIMPLE),
        st.sampled_from(SIMPLE).map("Nullable({})".format),
        st.sampled_from(DICTIONARIES).map("LowCardinality({})".format),
    ),
    containers,
    max_leaves=4,
)


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data(), st.lists(TYPES, min_size=1, max_size=4), st.integers(0, 2**32))
def test_blocks_of_any_types_are_framed_as_a_revision_demands(
    engine: Any, data: st.DataObject, types: list[str], seed: int
) -> None:
    rows = data.draw(st.lists(st.integers(1, 300), min_size=1, max_size=3))
    made = [blocks(engine, types, count, seed + at) for at, count in enumerate(rows)]
    plain = b"".join(block for block, _ in made)
    cuts = data.draw(st.lists(st.integers(0, len(plain)), max_size=8))
    assert frame(plain, 54405, cuts) == b"".join(INFO + block for block, _ in made)
    assert frame(plain, 54454, cuts) == b"".join(INFO + framed for _, framed in made)
    assert frame(plain, 54480, cuts) == b"".join(INFO_WITH_BUCKETS + framed for _, framed in made)


FLAT = "output_format_native_use_flattened_dynamic_and_json_serialization = 1"
AS_TEXT = "output_format_native_write_json_as_string = 1"
JSON = """concat('{"a":', toString(number), ',"b":["x",{"c":1}],"d":', if(number % 2, '1.5', '"y"'),
    '}')"""
SELF_DESCRIBING = [
    *("tuple()", "[]", "NULL", "toIntervalDay(number)", "(1, 2)::Point", "[(1, 2)]::Ring"),
    *("[[(1, 2)]]::Polygon", "[[[(1, 2)]]]::MultiPolygon", "[(1, 2)]::LineString"),
    *("[[(1, 2)], []]::MultiLineString", "[(1, 2), (number, 4)]::MultiPoint"),
    *("[(1, 2)]::Ring::Geometry", "(1, 2)::Point::Geometry", "[[(1, 2)]]::Polygon::Geometry"),
    *(
        "number::BFloat16",
        "number::Time",
        "number::Time64(6)",
        "[1, 2, number]::QBit(Float32, 3)",
        "range(20)::QBit(BFloat16, 20)",
    ),
    "CAST(number, 'SimpleAggregateFunction(max, UInt64)')",
    "CAST([(number, 'a')], 'Nested(a UInt8, b String)')",
    "arrayResize([], number % 3)::Array(LowCardinality(String))",
    "if(number % 2, number::Variant(UInt64, String), 'x'::Variant(UInt64, String))",
    "if(number % 2, NULL, [number]::Variant(Array(UInt64), String))",
    "if(number % 2, number::Dynamic, 'x'::Dynamic)",
    "[number::Dynamic(max_types = 1), [number]::Dynamic(max_types = 1), NULL]",
    "map('k', number::Dynamic)",
    f"{JSON}::JSON",
    f"{JSON}::JSON(max_dynamic_paths = 1, a UInt8, SKIP b)",
    f"{JSON}::JSON(max_dynamic_paths = 0, `d` LowCardinality(Nullable(String)))",
    f"[{JSON}::JSON]",
    f"if(number % 2, {JSON}, '{{}}')::Nullable(JSON)",
]


@pytest.mark.parametrize("with_setting", [None, FLAT, AS_TEXT])
@pytest.mark.parametrize("expression", SELF_DESCRIBING)
def test_columns_that_describe_themselves_are_passed_over(
    engine: Any, expression: str, with_setting: str | None
) -> None:
    query = f"SELECT {expression} AS c FROM numbers(50) SETTINGS max_block_size = 20"
    query += f", {with_setting}" if with_setting else ""
    column = engine.query(query, "Native").bytes()
    after = b"\x05after\x05UInt8"
    pair = engine.query(query.replace(" AS c", " AS c, 7::UInt8 AS after"), "Native").bytes()
    framed = frame(pair, 54454, [len(pair) // 3, len(pair) // 2])
    assert framed.count(after + b"\x00" + b"\x07") == 3
    without = framed.replace(INFO, b"").replace(after + b"\x00", after)
    kind = text_at(column, text_at(column, 2))
    head = column[2:kind]
    assert without.count(head + b"\x00") == 3
    assert without.replace(head + b"\x00", head) == pair


def test_newer_revisions_have_dynamic_columns_without_limits(engine: Any) -> None:
    query = f"SELECT {JSON}::JSON(max_dynamic_paths = 1) AS c FROM numbers(1)"
    column = engine.query(query, "Native").bytes()
    at = text_at(column, text_at(column, 2))
    head, values = column[:at], column[at:]
    assert values.startswith(struct.pack("<QB", 0, 1) + b"\x01\x01a" + struct.pack("<QB", 1, 1))
    newer = struct.pack("<Q", 2) + b"\x01\x01a" + struct.pack("<Q", 2) + values[21:]
    assert frame(column, 54473) == INFO + head + b"\x00" + newer
    assert frame(column, 54472) == INFO + head + b"\x00" + values


@pytest.mark.parametrize(
    ("expression", "revision", "says"),
    [
        ("sumState(number)", 54460, "AggregateFunction\\(sum, UInt64\\)"),
        ("[uniqState(number)]", 54405, "AggregateFunction\\(uniq, UInt64\\)"),
        ("toLowCardinality(toString(number))", 54337, "at least 54405"),
    ],
)
def test_a_type_that_cannot_be_framed_is_named(
    engine: Any, expression: str, revision: int, says: str
) -> None:
    query = f"SELECT 1 AS one, {expression} AS c FROM numbers(3)"
    with pytest.raises(StoreError, match=says) as caught:
        frame(engine.query(query, "Native").bytes(), revision)
    assert caught.value.status == 501


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", b"\x01\x01\x01c", b"\x02\x03\x01c\x04JSON"]))
def test_garbage_is_refused_or_awaited(garbage: bytes, before: bytes) -> None:
    async def types() -> list[bytes]:
        return []

    async def run() -> None:
        await NativeFraming(54460, types).frame(before + garbage)

    try:
        asyncio.run(run())
    except StoreError as error:
        assert error.status == 501  # noqa: PT017 - it may be raised, or not


# Compression


class Collected:
    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


def block(method: int, packed: bytes, size: int) -> bytes:
    rest = struct.pack("<BII", method, len(packed) + 9, size) + packed
    return b"".join(struct.pack("<Q", half) for half in divmod(CityHash128(rest), 1 << 64)) + rest


PACK: dict[int, Callable[[bytes], bytes]] = {
    0x02: lambda data: data,
    0x82: lambda data: bytes(lz4.block.compress(data, store_size=False)),
    0x90: zstandard.ZstdCompressor().compress,
}


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from(list(PACK)), st.binary(max_size=5_000)), max_size=5),
    st.integers(1, 3_000),
)
def test_blocks_of_any_method_are_decompressed_however_they_arrive(
    parts: list[tuple[int, bytes]], step: int
) -> None:
    body = b"".join(block(method, PACK[method](data), len(data)) for method, data in parts)
    collected = Collected()
    blocks = BlockDecompressor(collected)
    for at in range(0, len(body), step):
        blocks.write(body[at : at + step])
    blocks.finish()
    assert collected.data == b"".join(data for _, data in parts)


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (5 << 20) + 7])
def test_what_is_compressed_is_decompressed_to_the_same(size: int) -> None:
    data = random.Random(size).randbytes(size // 2) + bytes(size - size // 2)

    async def compress() -> bytes:
        compressor = BlockCompressor()
        parts = [
            await compressor.compress(data[at : at + 300_000]) for at in range(0, size, 300_000)
        ]
        return b"".join(parts) + compressor.finish()

    packed = asyncio.run(compress())
    collected = Collected()
    BlockDecompressor(collected).write(packed)
    assert collected.data == data
    assert bool(packed) == bool(data)


GOOD = block(0x82, PACK[0x82](b"a" * 1_000), 1_000)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (GOOD[:20] + bytes([GOOD[20] ^ 1]) + GOOD[21:], 271),
        (GOOD[:-1] + b"x", 40),
        (b"\x00" * 16 + GOOD[16:], 40),
        (GOOD[:-1], 271),
        (GOOD + b"\x00", 271),
        (b"INSERT INTO t VALUES (1), (2), (3)", 89),
        (block(0x55, b"abc", 3), 89),
        (block(0x02, b"abc", 4), 271),
        (block(0x82, b"\xff" * 20, 1_000), 271),
        (block(0x82, b"abc", 1 << 20), 271),
        (block(0x90, b"abc", 3), 271),
        (block(0x90, PACK[0x90](b"abc"), 4), 271),
        (block(0x90, PACK[0x90](b"a" * 100_000), 10), 271),
        (block(0x90, b"abc", 1 << 31), 19),
        (b"\x00" * 16 + struct.pack("<BII", 0x82, 1 << 31, 10), 19),
    ],
)
def test_a_wrong_block_is_refused_with_the_reason(body: bytes, code: int) -> None:
    with pytest.raises(StoreError) as caught:
        unpacked(body)
    assert (caught.value.code, caught.value.status) == (code, 400)


# The store


@pytest.fixture
def http(store: StoreProcess) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=store.url, auth=(store.user, store.password), timeout=60, trust_env=False
    ) as client:
        yield client


def ask(http: httpx.Client, query: str, **parameters: str) -> httpx.Response:
    return http.post("/", params=parameters, content=query)


def unpacked(body: bytes) -> bytes:
    collected = Collected()
    blocks = BlockDecompressor(collected)
    blocks.write(body)
    blocks.finish()
    return collected.data


def test_a_result_has_the_framing_that_was_asked_for(http: httpx.Client) -> None:
    query = "SELECT toDateTime(0, 'Asia/Tokyo') AS t, now() AS n, 1 AS one"
    zone = b"\x01t\x16DateTime('Asia/Tokyo')"
    for revision in ("54337", "54405", "54460", "54515"):
        answer = ask(http, query, default_format="Native", client_protocol_version=revision)
        assert zone in answer.content
        assert b"\x01n\x08DateTime" in answer.content
        assert answer.content.startswith(b"\x01\x00\x02\xff\xff\xff\xff")
    plain = ask(http, query, default_format="Native")
    assert plain.content.startswith(b"\x03\x01\x01t\x08DateTime")
    named = ask(http, query + " FORMAT native", client_protocol_version="54460")
    assert zone in named.content
    lines = ask(http, "SELECT 1", client_protocol_version="54460")
    assert lines.text == "1\n"
    wrong = ask(http, "SELECT 1", client_protocol_version="new")
    assert (wrong.status_code, "client_protocol_version" in wrong.text) == (400, True)
    empty = ask(http, "SELECT 1 WHERE 0", default_format="Native", client_protocol_version="54460")
    assert (empty.status_code, empty.content) == (200, b"")


def test_the_time_zone_is_found_whatever_else_the_query_has(http: httpx.Client) -> None:
    query = "SELECT toDateTime({x:UInt32}, 'Asia/Tokyo') AS t FROM e -- e"
    files = {"e": ("e", b"1\n")}
    parameters = {
        "query": query,
        "default_format": "Native",
        "client_protocol_version": "54460",
        "e_structure": "a UInt8",
        "param_x": "5",
        "readonly": "1",
    }
    answer = http.post("/", params=parameters, files=files)
    assert b"DateTime('Asia/Tokyo')\x00\x05" in answer.content


def test_a_type_that_cannot_be_framed_is_refused_before_anything_is_sent(
    http: httpx.Client,
) -> None:
    query = (
        "SELECT repeat('x', 100) AS a, sumState(number) AS s FROM numbers(60000) GROUP BY number"
    )
    parameters = {"default_format": "Native", "client_protocol_version": "54460"}
    answer = ask(http, query, **parameters)
    assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (501, "48")
    assert "AggregateFunction(sum, UInt64)" in answer.text
    streamed = ask(http, query, wait_end_of_query="0", **parameters)
    assert streamed.status_code == 501
    assert ask(http, "SELECT 1").text == "1\n"


def test_an_error_in_the_middle_of_a_framed_stream_stands_between_the_tags(
    http: httpx.Client,
) -> None:
    query = "SELECT throwIf(number = 3000000, 'too far') FROM numbers(5000000)"
    parameters = {"default_format": "Native", "client_protocol_version": "54460"}
    chunks: list[bytes] = []
    with http.stream("POST", "/", params=parameters, content=query) as answer:
        tag = answer.headers["X-ClickHouse-Exception-Tag"].encode()
        with pytest.raises(httpx.RemoteProtocolError):
            chunks.extend(answer.iter_raw())
    assert b"__exception__\r\n" + tag + b"\r\nCode: 395." in b"".join(chunks)


def test_bodies_go_both_ways_in_clickhouses_compressed_blocks(http: httpx.Client) -> None:
    rows = b"".join(b"%d\n" % number for number in range(300_000))
    insert = b"INSERT INTO compressed_blocks FORMAT TSV\n" + rows
    ask(http, "CREATE TABLE compressed_blocks (a UInt64) ENGINE = Memory")
    try:
        for method, pack in PACK.items():
            parts = [insert[at : at + 70_000] for at in range(0, len(insert), 70_000)]
            body = b"".join(block(method, pack(part), len(part)) for part in parts)
            answer = http.post("/", params={"decompress": "1"}, content=body)
            assert answer.status_code == 200, answer.text
            cut = http.post("/", params={"decompress": "1"}, content=body[:-1])
            assert (cut.status_code, cut.headers["X-ClickHouse-Exception-Code"]) == (400, "271")
        wrong = http.post("/", params={"decompress": "1"}, content=insert)
        assert (wrong.status_code, wrong.headers["X-ClickHouse-Exception-Code"]) == (400, "89")
        answer = ask(http, "SELECT DISTINCT a FROM compressed_blocks ORDER BY a", compress="1")
        assert unpacked(answer.content) == rows
        assert ask(http, "SELECT count() FROM compressed_blocks").text == "900000\n"
    finally:
        ask(http, "DROP TABLE compressed_blocks SYNC")


def test_errors_are_compressed_as_the_result_would_have_been(http: httpx.Client) -> None:
    answer = ask(http, "SELECT nothing", compress="1")
    assert answer.status_code == 404
    assert unpacked(answer.content).startswith(b"Code: 47. DB::Exception: ")
    form = http.post("/", params={"decompress": "1"}, files={"e": ("e", b"1\n")})
    assert (form.status_code, "Content-Encoding" in form.text) == (501, True)
