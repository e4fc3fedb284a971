"""Whatever is received, what is printed reads one project and calls what is listed.

The judge knows ClickHouse's tokens only, and nothing of the tree or of the printer.
"""

import contextlib
import itertools

from hypothesis import given, settings

from services.sql import Catalog, Refused, check
from services.sql.functions import find_function
from services.sql.types import type_names
from services.sql.views import PROJECT_PARAMETER, view_queries
from services.store.statements import Token, read_tokens
from tests.services.sql.random_sql import statements

DATABASE = "tables of all projects"
VIEWS = view_queries(DATABASE)
CATALOG = Catalog("avila", {"avila": VIEWS}, "shop")
# Words that may stand before a bracket.
WORDS = {
    *("AS", "FROM", "IN", "AND", "OR", "NOT", "BY", "ON", "USING", "OVER", "WITH", "JOIN", "WHEN"),
    *("ALL", "DISTINCT", "UNION", "EXCEPT", "REPLACE", "EXISTS", "SELECT", "WHERE", "THEN", "ELSE"),
    *("CAST", "CASE", "HAVING", "LIMIT", "SETS", "END", "LIKE", "BETWEEN", "INTERSECT", "NULL"),
}
FORBIDDEN = {
    *("SETTINGS", "FORMAT", "OUTFILE", "INFILE", "DROP", "INSERT", "APPLY", "COLUMNS", "FINAL"),
    *("SAMPLE", "PREWHERE", "GLOBAL", "DESCRIBE", "SHOW", "SYSTEM"),
}


def judge(text: str) -> None:
    for query in VIEWS.values():
        text = text.replace(query, "SELECT 1")
    assert DATABASE not in text
    assert PROJECT_PARAMETER not in text
    tokens = list(read_tokens(text.encode()))
    assert "open" not in {token.kind for token in tokens}
    for token, after in itertools.pairwise(tokens):
        word = token.text.decode()
        assert word != ";"
        if token.kind != "word":
            # A name in quotes is called by nobody.
            assert token.kind != "quoted" or after.text != b"(" or is_with(word)
            continue
        assert word.upper() not in FORBIDDEN, text
        if after.text == b"(" and word.upper() not in WORDS:
            assert find_function(word) == word or word in type_names(), text


def is_with(name: str) -> bool:
    return name.startswith("`__avila_with_")


def sources(tokens: list[Token]) -> list[bytes]:
    """What stands after FROM and JOIN."""
    return [
        after.text
        for token, after in itertools.pairwise(tokens)
        if token.word in {b"FROM", b"JOIN"}
    ]


@settings(max_examples=300, deadline=None)
@given(statements())
def test_whatever_is_received_only_what_is_listed_is_printed(sql: str) -> None:
    with contextlib.suppress(Refused):
        text = check(sql.replace("{database}", DATABASE), CATALOG).text
        judge(text)
        for query in VIEWS.values():
            text = text.replace(f"({query})", "(a view)")
        for source in sources(list(read_tokens(text.encode()))):
            assert source == b"(" or source.startswith(b"`__avila_with_")
