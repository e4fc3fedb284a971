"""The parser of statements, on text alone."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.store.errors import StoreError, engine_error
from services.store.reach import check_reach, refused_names
from services.store.statements import Insert, Query, is_column_list, read_statement


@pytest.mark.parametrize(
    ("text", "read", "rows"),
    [
        (b"INSERT INTO t VALUES (1)", b"INSERT INTO t FROM INFILE 'F' FORMAT Values", b" (1)"),
        (b"insert into t format CSV\n1\n", b"insert into t FROM INFILE 'F' FORMAT CSV", b"1\n"),
        (b"INSERT INTO t (a, b) FORMAT X  \r\n\n", None, b"\n"),
        (b"INSERT INTO `format` FORMAT X \x00\xff", None, b"\x00\xff"),
        (b"INSERT INTO d.values FORMAT X\nrows", None, b"rows"),
        (b"INSERT INTO format FORMAT X\nrows", None, b"rows"),
        (
            b"INSERT INTO t (a) SETTINGS x = 1, y = 'FORMAT' FORMAT X\nrows",
            b"INSERT INTO t (a) FROM INFILE 'F' SETTINGS x = 1, y = 'FORMAT' FORMAT X",
            b"rows",
        ),
        (
            b"INSERT INTO t FORMAT X SETTINGS x = -1, y = 'b'\nrows",
            b"INSERT INTO t FROM INFILE 'F' SETTINGS x = -1, y = 'b' FORMAT X",
            b"rows",
        ),
        (
            b"INSERT INTO t SELECT a FROM input('a Int8') WHERE a > 1 FORMAT Avro\nrows",
            b"INSERT INTO t SELECT a FROM file('F', 'Avro', 'a Int8') WHERE a > 1 ",
            b"rows",
        ),
        (
            b"WITH 1 AS x INSERT INTO t FORMAT X\nv;",
            b"WITH 1 AS x INSERT INTO t FROM INFILE 'F' FORMAT X",
            b"v;",
        ),
        (b"WITH insert AS (SELECT 1) INSERT INTO t (a) VALUES ('v;');", None, b" ('v;');"),
        (b"INSERT INTO t SETTINGS x = $a$ FORMAT $a$ FORMAT X\nrows", None, b"rows"),
        (b"-- FORMAT Y\nINSERT /* VALUES */ INTO t FORMAT X\nrows", None, b"rows"),
    ],
)
def test_rows_begin_where_the_text_of_the_insert_ends(
    text: bytes, read: bytes | None, rows: bytes
) -> None:
    statement = read_statement(text)
    assert isinstance(statement, Insert)
    assert text[statement.data_at :] == rows
    if read is not None:
        assert statement.reading("F") == read


@pytest.mark.parametrize(
    "text",
    [
        b"INSERT INTO t SELECT 1",
        b"INSERT INTO t SELECT 'FORMAT X' FORMAT Null",
        b"WITH 1 AS x SELECT x",
        b"WITH insert AS (SELECT 1) SELECT * FROM insert",
        b"WITH 1 AS x SELECT x; INSERT INTO t FORMAT CSV",
        b"INSERT INTO t (a); DROP TABLE t; INSERT INTO t FORMAT CSV",
        b"WITH 1 AS x INSERT INTO t SELECT x",
        b"SELECT 'INSERT INTO t VALUES'",
        b"",
        b"INSERT",
        b"INSERT INTO t",
    ],
)
def test_a_statement_without_rows_is_left_as_it_is(text: bytes) -> None:
    statement = read_statement(text)
    assert isinstance(statement, Query)
    assert statement.text == text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (b"SELECT 1", b"SELECT 1 INTO OUTFILE 'F' TRUNCATE  FORMAT D"),
        (b"SELECT 1;; -- end", b"SELECT 1 INTO OUTFILE 'F' TRUNCATE  FORMAT D"),
        (b"SELECT 1 FORMAT JSON;", b"SELECT 1  INTO OUTFILE 'F' TRUNCATE FORMAT JSON"),
        (
            b"SELECT 1 FORMAT JSON SETTINGS a = 1",
            b"SELECT 1  INTO OUTFILE 'F' TRUNCATE FORMAT JSON SETTINGS a = 1",
        ),
        (
            b"SELECT format FROM t SETTINGS a = 1",
            b"SELECT format FROM t SETTINGS a = 1 INTO OUTFILE 'F' TRUNCATE  FORMAT D",
        ),
        (b"SELECT {$x$:Int8} FORMAT X", b"SELECT {$x$:Int8}  INTO OUTFILE 'F' TRUNCATE FORMAT X"),
        (b"SELECT $$ FORMAT X$$", b"SELECT $$ FORMAT X$$ INTO OUTFILE 'F' TRUNCATE  FORMAT D"),
        (b"SELECT $a$;b$a$", b"SELECT $a$;b$a$ INTO OUTFILE 'F' TRUNCATE  FORMAT D"),
        (b"SELECT 'FORMAT X'", b"SELECT 'FORMAT X' INTO OUTFILE 'F' TRUNCATE  FORMAT D"),
    ],
)
def test_a_result_is_led_to_a_file_before_its_format(text: bytes, written: bytes) -> None:
    statement = read_statement(text)
    assert isinstance(statement, Query)
    assert statement.writing("F", "D") == written


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT 1 INTO OUTFILE 'x'",
        b"SELECT 1 into /* */ outfile 'x' FORMAT CSV",
        b"INSERT INTO t FROM INFILE 'x' FORMAT CSV",
        b"SELECT * FROM Python(x)",
        b"SELECT * FROM python -- \n (x)",
        b"SELECT 1 /* /* */ ' */ INTO OUTFILE 'x'",
    ],
)
def test_files_and_this_process_are_out_of_reach(text: bytes) -> None:
    with pytest.raises(StoreError):
        read_statement(text)


REFUSED = refused_names(["file", "url", "numbers", "new"], ["File", "URL", "MergeTree", "Hive"])


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT * FROM file('x')",
        b"SELECT * FROM numbers(1), new('x')",
        b"SELECT file /* ( */ -- (\n ('x')",
        b'SELECT * FROM "url"(x)',
        b"INSERT INTO FUNCTION file('x') VALUES (1)",
        b"INSERT INTO FUNCTION url('x') FORMAT CSV\n1",
        b"INSERT INTO TABLE FUNCTION url('x') SELECT 1",
        b"CREATE TABLE file (a Int8) ENGINE = File(CSV)",
        b"CREATE TABLE t (a Int8) ENGINE Hive",
        b"CREATE TABLE t AS url('x')",
        b"CREATE TABLE t (a String DEFAULT file('x')) ENGINE = Memory",
        b"CREATE DICTIONARY d (a Int8) PRIMARY KEY a SOURCE(HTTP(URL 'x')) LAYOUT(FLAT())",
        b"CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type=local)",
        b"CREATE FUNCTION f AS x -> file(x)",
        b"BACKUP TABLE t TO Disk('x')",
        b"RESTORE TABLE t FROM Disk('x')",
        b"ATTACH TABLE t FROM '/x' (a Int8) ENGINE = MergeTree",
        "SELECT * FROM “file”('x')".encode(),
        "SELECT * FROM “f\\x69le”('x')".encode(),
        "SELECT * FROM file\u00a0('x')".encode(),
        "SELECT \u2018 ' \u2019, * FROM file('x') -- '".encode(),
        b"SELECT * FROM file // '\n ('x') -- '",
        b"SELECT 1 // '\n, file('x') -- '",
        b"SELECT $$ ' $$, * FROM file('x') -- '",
        b"SELECT 1 SETTINGS additional_table_filters = {'t': 'file(1)'}",
        b"SELECT 1 SETTINGS schema_inference_hints = 'a String DEFAULT file(1)'",
        b"SELECT * APPLY file FROM t",
        b"SELECT COLUMNS('a') APPLY (`f\\x69le`) FROM t",
        b"SELECT arrayMap(file, ['x'])",
        b"SELECT * FROM format(Values, 'a String', concat('(fi', 'le(1))'))",
        b"SELECT * FROM format('Values', 'a String', '(1)')",
        b"SELECT * FROM format(values, 'a String', '(1)')",
        b"SELECT * FROM format(CSV, 'a String DEFAULT file(1)', '1')",
        b"SELECT * FROM format(CSV, 'a String', concat('1', '2'))",
        b"SELECT * FROM format(CSV, concat('a String DEFAULT fi', 'le(1)'), '1')",
        b"INSERT INTO t SELECT * FROM input('a String DEFAULT file(1)') FORMAT CSV",
        b"INSERT INTO t SELECT * FROM input(concat('a String DEFAULT fi', 'le(1)')) FORMAT CSV",
        b"SELECT 1 SETTINGS additional_table_filters = {'t': x'66696c65283129'}",
        b"SELECT 1 // '\n, file(1) // '",
        b"SELECT 1 /* /* */ ' */, file(1) /* ' */",
        "SELECT \u2018'\u2019, file(1), \u2018'\u2019".encode(),
        "SELECT * FROM \u201cfile\u201d\u2003(1)".encode(),
        "SELECT * FROM file\u00a0(1)".encode(),
        b"SELECT 1 AS b$x$, file(1) AS c, '$x$'",
        b"SELECT 1 AS $x$, file(1)",
    ],
)
def test_what_reaches_out_of_the_store_is_refused(text: bytes) -> None:
    with pytest.raises(StoreError, match="not allowed"):
        check_reach(read_statement(text), REFUSED)


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT 'file(1)', `a b` FROM numbers(3)",
        b"INSERT INTO url (a) VALUES ('url(')",
        b"INSERT INTO t SELECT * FROM input('a String DEFAULT lower(b)') FORMAT CSV",
        b"SELECT * FROM format(CSV, 'a String DEFAULT lower(b)', $x$1$x$), format(Parquet, $$x$$)",
        b"SELECT format('{}, {}', file, url), concat(file, 'x'), (file) FROM t",
        b"INSERT INTO TABLE d.file (a) SELECT 1",
        b"CREATE TABLE IF NOT EXISTS url (file String) ENGINE = MergeTree() ORDER BY (file)",
        b"CREATE OR REPLACE VIEW file AS SELECT url FROM t",
        b"SELECT 1 /* /* */ file(1) */ // file(1)",
        b"SELECT $x$ file(1) $x$, x'27', b'1'",
        "SELECT \u2018file(1) \\\u2019, 2".encode(),
        "SELECT 'ä “a(1)”', `ü` FROM \u00a0 t".encode(),
        b"SELECT domain(url), file FROM t WHERE url IN (1)",
        b"",
    ],
)
def test_names_that_are_not_called_are_not_refused(text: bytes) -> None:
    check_reach(read_statement(text), REFUSED)


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", b"INSERT INTO t ", b"SELECT ", b"'", b"/*"]))
def test_no_bytes_break_the_reader(garbage: bytes, before: bytes) -> None:
    try:
        statement = read_statement(before + garbage)
        check_reach(statement, REFUSED)
    except StoreError:
        return
    if isinstance(statement, Insert):
        assert 0 <= statement.data_at <= len(before + garbage)


@pytest.mark.parametrize(
    "unit",
    [
        b"'",
        b"(",
        b"/*",
        b"'\\",
        b"$a$",
        b"$a$$b",
        b"$",
        b"a ",
        b"''",
        b"-- ",
        b"/**/",
        b"\xe2\x80\x98",
        b"x'",
    ],
)
def test_the_reader_takes_time_in_proportion_to_the_text(unit: bytes) -> None:
    text = b"SELECT " + unit * (100_000 // len(unit))
    started = time.process_time()
    read_statement(text)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        (b"a Int8, b Array(Tuple(x String, `y)` UInt8))", True),
        (b"a Enum('x)' = 1)", True),
        (b"", False),
        (b"a Int8); DROP TABLE t --", False),
        (b"a Int8); (", False),
        (b"a Int8; b", False),
        (b"a Enum('x", False),
        (b"a Array(Int8", False),
    ],
)
def test_a_column_list_stays_in_its_brackets(text: bytes, accepted: bool) -> None:
    assert is_column_list(text) is accepted


def test_unclosed_heredocs_are_not_searched_one_by_one() -> None:
    text = b"SELECT " + b" ".join(b"$%d$" % number for number in range(100_000))
    started = time.process_time()
    read_statement(text)
    assert time.process_time() - started < 5


def test_the_engines_repetitions_are_taken_out_of_its_errors() -> None:
    error = engine_error(
        "Code: 33. DB::Exception: Code: 33. DB::Exception: Cannot read all data. Bytes read: 4. "
        "Bytes expected: 114: (in file/uri /dev/fd/27): While executing Native: While executing "
        "File: data for INSERT was parsed from file. (CANNOT_READ_ALL_DATA) (version 26.9.2.1). "
        "(CANNOT_READ_ALL_DATA)",
        inserting=True,
    )
    assert (error.code, error.status) == (33, 400)
    assert error.text == (
        "Code: 33. DB::Exception: Cannot read all data. Bytes read: 4. Bytes expected: 114: "
        "While executing Native. (CANNOT_READ_ALL_DATA)"
    )
