"""What SQL is allowed, and what is refused and where: of the checker and printer alone."""

import contextlib
import re
import time

import pytest

from services.sql import Catalog, Checked, Refused, check
from services.sql.functions import AGGREGATES, FUNCTIONS, HIGHER_ORDER, find_function
from services.sql.views import PROJECT_PARAMETER, view_queries

VIEWS = dict(view_queries("the store"))
CATALOG = Catalog("avila", {"avila": VIEWS}, "shop")


def printed(sql: str) -> str:
    """The statement, with the names of views in the place of their queries."""
    text = check(sql, CATALOG).text
    for name, query in VIEWS.items():
        text = text.replace(f"({query})", f"<{name}>")
    return text


def refusal(sql: str) -> str:
    with pytest.raises(Refused) as caught:
        check(sql, CATALOG)
    return str(caught.value)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select count() from events", "SELECT count() FROM <events> AS `events`"),
        ("SELECT COUNT(*) FROM avila.events e", "SELECT count(*) FROM <events> AS `e`"),
        (
            "SELECT avila.events.event, events.properties.a.b FROM events",
            "SELECT `events`.`event`, `events`.`properties`.`a`.`b` FROM <events> AS `events`",
        ),
        (
            "WITH a AS (SELECT 1 AS x), 5 AS n SELECT a.x + n FROM a",
            (
                "WITH `__avila_with_1` AS (SELECT 1 AS `x`), 5 AS `n` "
                "SELECT (`a`.`x` + `n`) FROM `__avila_with_1` AS `a`"
            ),
        ),
        (
            # A query of WITH may have the name of a view, and then hides it.
            "WITH events AS (SELECT event FROM events) SELECT * FROM events",
            (
                "WITH `__avila_with_1` AS (SELECT `event` FROM <events> AS `events`) "
                "SELECT * FROM `__avila_with_1` AS `events`"
            ),
        ),
        (
            "SELECT 1 UNION ALL SELECT 2 UNION DISTINCT SELECT 3",
            "((SELECT 1) UNION ALL (SELECT 2)) UNION DISTINCT (SELECT 3)",
        ),
        ("SELECT a IN (b), a IN (1, 2)", "SELECT (`a` IN tuple(`b`)), (`a` IN tuple(1, 2))"),
        ("SELECT 'it''s \\' \\\\ \\n'", "SELECT 'it\\'s \\' \\\\ \n'"),
        ("SELECT x -- ; DROP TABLE y", "SELECT `x`"),
        ("SELECT x /* */ FROM persons", "SELECT `x` FROM <persons> AS `persons`"),
        ("SELECT `a``b\\``", "SELECT `a\\`b\\``"),
        ("SELECT currentDatabase(), currentUser()", "SELECT 'avila', 'shop'"),
        ("SELECT now() - INTERVAL 7 DAY", "SELECT (now() - toIntervalDay(7))"),
        (
            "SELECT arrayMap((x, y) -> x + y, a, b), a[1], t.1, {p:Array(UInt8)}",
            (
                "SELECT arrayMap((`x`, `y`) -> (`x` + `y`), `a`, `b`), (`a`)[1], `t`.1, "
                "{p:Array(UInt8)}"
            ),
        ),
        (
            "SELECT quantileIf(0.5)(x, y), count(DISTINCT z), sum(x) OVER (ORDER BY y DESC)",
            (
                "SELECT quantileIf(0.5)(`x`, `y`), count(DISTINCT `z`), "
                "sum(`x`) OVER (ORDER BY `y` DESC)"
            ),
        ),
        (
            "SELECT properties.a.:String, properties.^b, x::Nullable(Int8), CAST(y, 'Date')",
            (
                "SELECT `properties`.`a`.:String, `properties`.^`b`, CAST(`x` AS Nullable(Int8)), "
                "CAST(`y` AS Date)"
            ),
        ),
        (
            (
                "SELECT d FROM events GROUP BY d WITH TOTALS HAVING 1 ORDER BY d WITH FILL STEP 2 "
                "LIMIT 3 OFFSET 4"
            ),
            (
                "SELECT `d` FROM <events> AS `events` GROUP BY `d` WITH TOTALS HAVING 1 "
                "ORDER BY `d` WITH FILL STEP 2 LIMIT 3 OFFSET 4"
            ),
        ),
        ("SELECT x LIMIT 1 BY x", "SELECT `x` LIMIT 1 BY `x`"),
    ],
)
def test_allowed_sql_is_printed_with_its_meaning(sql: str, expected: str) -> None:
    assert printed(sql) == expected


@pytest.mark.parametrize(
    ("sql", "place", "reason"),
    [
        ("SELECT 1,\n  file('/etc/passwd')", "line 2, column 3", "function file"),
        ("SELECT * FROM s3('http://a')", "line 1, column 15", "table function s3"),
        ("SELECT * FROM url('http://a', CSV)", "line 1, column 15", "table function url"),
        ("SELECT * FROM remote('h', system.users)", "line 1, column 15", "function remote"),
        ("SELECT * FROM file('/etc/passwd')", "line 1, column 15", "table function file"),
        ("SELECT * FROM merge('avila', '.*')", "line 1, column 15", "table function merge"),
        ("SELECT * FROM view(SELECT 1)", "line 1, column 15", "table function view"),
        ("SELECT * FROM numbers(10)", "line 1, column 15", "table function numbers"),
        ("SELECT * FROM {t:Identifier}", "", "table function"),
        ("SELECT {t:Identifier} FROM events", "", "a name and a type"),
        ("SELECT ?", "", "a name and a type"),
        ("SELECT * FROM system.tables", "line 1, column 15", "no table 'system.tables'"),
        ("SELECT * FROM `the store`.events", "line 1, column 15", "no table"),
        ("SELECT * FROM secrets", "line 1, column 15", "no table 'secrets'"),
        ("SELECT * FROM `avila.events`", "line 1, column 15", "no table 'avila.events'"),
        ("SELECT * FROM a.b.events", "line 1, column 15", "CATALOG"),
        ("SELECT * FROM 'x.csv'", "", "accepted are"),
        ("SELECT dictGet('a', 'b', 1)", "line 1, column 8", "function dictGet"),
        ("SELECT joinGet('a', 'b', 1)", "line 1, column 8", "function joinGet"),
        ("SELECT hasColumnInTable('a', 'b', 'c')", "line 1, column 8", "hasColumnInTable"),
        ("SELECT getSetting('a')", "line 1, column 8", "function getSetting"),
        ("SELECT sleep(3)", "line 1, column 8", "function sleep"),
        ("SELECT `file`('x')", "line 1, column 8", "function file"),
        ("SELECT arrayMap(x -> file(x), ['/etc/passwd'])", "line 1, column 22", "function file"),
        ("SELECT arrayMap(file, ['/etc/passwd'])", "line 1, column 8", "takes a lambda"),
        ("SELECT arrayReduce('sum', [1])", "line 1, column 8", "function arrayReduce"),
        ("SELECT * APPLY(file) FROM events", "", "APPLY is not allowed"),
        ("SELECT COLUMNS('.*') FROM events", "line 1, column 8", "function COLUMNS"),
        ("SELECT in(1, events)", "line 1, column 11", ""),
        ("SELECT 1 IN events", "line 1, column 8", "a list or a subquery"),
        ("SELECT 1 IN `the store`.events", "line 1, column 8", "a list or a subquery"),
        ("SELECT 1 SETTINGS readonly = 0", "", "SETTINGS is not supported"),
        ("SELECT * FROM (SELECT 1 SETTINGS max_threads = 9)", "", "SETTINGS is not supported"),
        ("SELECT * FROM (SELECT 1 FORMAT JSON)", "", "FORMAT is not supported"),
        ("SELECT 1 INTO OUTFILE 'x'", "line 1, column 23", ""),
        ("SELECT 1; SELECT 2", "", "2 statements"),
        ("SELECT 1; DROP TABLE x", "", "2 statements"),
        ("DROP TABLE events", "", "DROP is not allowed"),
        ("INSERT INTO events SELECT 1", "", "INSERT is not allowed"),
        ("CREATE FUNCTION f AS x -> x", "", "CREATE is not allowed"),
        ("ALTER TABLE events DELETE WHERE 1", "", "ALTER is not allowed"),
        ("SET max_threads = 1", "", "SET is not allowed"),
        ("USE system", "", "USE is not allowed"),
        ("SYSTEM SHUTDOWN", "", ""),
        ("KILL QUERY WHERE 1", "", "KILL is not allowed"),
        ("ATTACH TABLE x", "", "ATTACH is not allowed"),
        ("BACKUP TABLE x TO File('y')", "", ""),
        ("EXPLAIN SELECT 1", "", ""),
        ("SELECT __avila_with_1 FROM events", "line 1, column 8", "reserved"),
        ("SELECT {__avila_project:String}", "", "no name of a parameter"),
        ("SELECT 1 AS `__AVILA_event`", "line 1, column 13", "reserved"),
        ("SELECT * FROM events FINAL", "line 1, column 15", "FINAL"),
        ("SELECT * FROM events SAMPLE 0.1", "", "SAMPLE"),
        ("WITH RECURSIVE a AS (SELECT 1) SELECT 1", "", "RECURSIVE"),
        ("SELECT CAST(1 AS AggregateFunction(sum, UInt8))", "", "type"),
        ("SELECT CAST(x, 'Object(\\'json\\')')", "", "type"),
        ("SELECT {a:String}, {a:UInt8}", "", "two types"),
        ("SELECT", "", "no columns"),
        ("SELECT ---1", "", "no columns"),
        ("SELECT * FROM (SELECT -- 1\n)", "", "no columns"),
        ("SELECT 1e309", "", "too large"),
        ("", "", "empty"),
        ("-- nothing", "", "empty"),
        ("SELECT 'open", "", "cannot be parsed"),
        ("SELECT (1", "", ""),
        ("hello", "", "not allowed"),
    ],
)
def test_what_is_not_allowed_is_refused_with_its_place(sql: str, place: str, reason: str) -> None:
    said = refusal(sql)
    assert place in said
    assert reason in said
    assert len(said) < 1_000


def test_every_view_reads_one_project_only() -> None:
    for query in VIEWS.values():
        assert query.count(f"{{{PROJECT_PARAMETER}:String}}") == query.count("`the store`.") == 1


def test_parameters_are_found_with_their_types() -> None:
    checked = check("SELECT {a:Date}, {b:Array(String)}, {a:Date} FORMAT JSON", CATALOG)
    assert checked == Checked(checked.text, {"a": "Date", "b": "Array(String)"}, "JSON")
    assert "FORMAT" not in checked.text


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "a" * 10_000,
        "SELECT 1 AS `" + "a" * 10_000 + "`",
        "SELECT " + "f" * 10_000 + "(1)",
        "SELECT * FROM " + "t" * 10_000,
        "SELECT {" + "p" * 10_000 + ":String}",
        "SELECT " + "(" * 10_000 + "1" + ")" * 10_000,
        "SELECT " + "(" * 39 + "1" + ")" * 39 + "," + "[" * 39,
        "SELECT " + "NOT " * 8_000 + "1",
        "SELECT " + "- " * 16_000 + "1",
        "SELECT " + "1 + " * 8_000 + "1",
        "SELECT 1" + " UNION ALL SELECT 1" * 1_700,
        "SELECT " + "CAST(" * 35 + "1" + " AS UInt8)" * 35,
        "WITH " + "(WITH " * 38 + "1" + " AS a SELECT 1)" * 38 + " AS b SELECT 1",
        "WITH a AS (" * 38 + "SELECT 1" + ") SELECT * FROM a" * 38,
        "SELECT CASE " * 2_500,
        "SELECT " + "x -> " * 6_000 + "1",
        "SELECT " + "a." * 16_000 + "b",
        "SELECT '" + "\\'" * 16_000,
        "SELECT " + "/*" * 16_000,
        "SELECT 1e" + "9" * 10_000,
        "SELECT CAST(1, '" + "Array(" * 2_000 + "')",
        "(" * 40,
        "SELECT " + "1," * 16_000,
        "SELECT * FROM events" + ", events" * 3_000,
        "x" * 1_000_000,
    ],
    ids=lambda sql: f"{sql[:30]}…{len(sql)}",
)
def test_a_parse_bomb_costs_no_more_than_a_moment(sql: str) -> None:
    begun = time.process_time()
    with contextlib.suppress(Refused):
        check(sql, CATALOG)
    assert time.process_time() - begun < 5


def test_functions_have_the_names_that_clickhouse_knows() -> None:
    assert find_function("COUNT") == "count"
    assert find_function("todate") == "toDate"
    assert find_function("sumIfOrNull") == "sumIfOrNull"
    assert find_function("COUNTIf") == "countIf"
    assert find_function("sumState") is None
    assert find_function("toDateIf") is None
    assert AGGREGATES < FUNCTIONS
    assert HIGHER_ORDER < FUNCTIONS
    unsafe = re.compile(
        r"(?i)^(dict|join|file|url$|s3|remote|get|sleep|throw|catboost|ai[A-Z]|chdb|mysql|"
        r"zookeeper|filesystem|hasColumn|initialize|evalML|show|tcp|server(?!Time)|execut|__)"
    )
    assert [name for name in FUNCTIONS if unsafe.match(name)] == []
