"""Refuses statements that reach out of the store: to files, addresses, programs or other servers.

A table function, table engine or database engine of ClickHouse is refused unless it is known to
read and write the store alone, so that one which a later version adds is refused as well. Only
SQL's tokens are looked at: a call is a name before a bracket. The name of the table that a
statement is about is none, so a table may be called `url`.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from services.store.errors import Code, StoreError
from services.store.statements import Insert, Query, Token, read_tokens

_TABLE_FUNCTIONS: Final = frozenset(
    [
        "dictionary",
        "format",
        "fuzzjson",
        "fuzzquery",
        "generate_series",
        "generaterandom",
        "generateseries",
        "input",
        "loop",
        "merge",
        "mergetreeanalyzeindexes",
        "mergetreeanalyzeindexesuuid",
        "mergetreecodecblockcounts",
        "mergetreeindex",
        "mergetreeprojection",
        "mergetreetextindex",
        "null",
        "numbers",
        "numbers_mt",
        "primes",
        "sqlstandardvalues",
        "values",
        "view",
        "viewexplain",
        "viewifpermitted",
        "zeros",
        "zeros_mt",
        "timeseriesdata",
        "timeseriesmetricfamilies",
        "timeseriesmetrics",
        "timeseriessamples",
        "timeseriesselector",
        "timeseriestags",
    ]
)
_ENGINES: Final = frozenset(
    [
        "aggregatingmergetree",
        "alias",
        "atomic",
        "buffer",
        "coalescingmergetree",
        "collapsingmergetree",
        "dictionary",
        "fuzzjson",
        "fuzzquery",
        "generaterandom",
        "graphitemergetree",
        "join",
        "log",
        "loop",
        "materializedview",
        "memory",
        "merge",
        "mergetree",
        "null",
        "ordinary",
        "replacingmergetree",
        "replicatedaggregatingmergetree",
        "replicatedcoalescingmergetree",
        "replicatedcollapsingmergetree",
        "replicatedgraphitemergetree",
        "replicatedmergetree",
        "replicatedreplacingmergetree",
        "replicatedsummingmergetree",
        "replicatedversionedcollapsingmergetree",
        "set",
        "stripelog",
        "summingmergetree",
        "timeseries",
        "tinylog",
        "versionedcollapsingmergetree",
        "view",
    ]
)
# Functions, sources of dictionaries and disks, which the engine does not list.
_ALWAYS: Final = frozenset(
    [
        "cassandra",
        "catboostevaluate",
        "clickhouse",
        "disk",
        "executable",
        "executablepool",
        "file",
        "filesystem",
        "http",
        "jdbc",
        "library",
        "mongodb",
        "mysql",
        "odbc",
        "postgresql",
        "python",
        "redis",
        "url",
        "yamlregexptree",
        "ydb",
    ]
)
# Words before the name of the table that a statement is about.
_BEFORE_SUBJECT: Final = frozenset(
    b"CREATE INSERT INTO OR REPLACE TEMPORARY MATERIALIZED LIVE TABLE VIEW DICTIONARY IF NOT "
    b"EXISTS".split()
)
_FILTERS: Final = {
    b"ADDITIONAL_TABLE_FILTERS",
    b"ADDITIONAL_RESULT_FILTER",
    b"SCHEMA_INFERENCE_HINTS",
}
_WORD: Final = re.compile(rb"\w+")
_ESCAPED: Final = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)


def refused_names(functions: Iterable[str], engines: Iterable[str]) -> frozenset[bytes]:
    """Return the names that are refused, of all table functions and engines that there are."""
    names = {name.lower() for name in functions} - _TABLE_FUNCTIONS
    names |= {name.lower() for name in engines} - _ENGINES
    return frozenset(name.encode() for name in (names - _TABLE_FUNCTIONS - _ENGINES) | _ALWAYS)


def check_reach(statement: Insert | Query, refused: frozenset[bytes]) -> None:
    """Return if the statement stays in the store.

    Raises:
        StoreError: it does not; names what is refused.
    """
    if isinstance(statement, Insert):
        _check(statement.head + b" " + statement.settings, refused)
    else:
        _check(statement.text, refused)


def check_text(text: bytes, refused: frozenset[bytes]) -> None:
    """Return if a part of a statement, or rows with expressions, stay in the store.

    Raises:
        StoreError: it does not; names what is refused.
    """
    _check(text, refused)


def check_settings(values: Iterable[str], refused: frozenset[bytes]) -> None:
    """Return if none of the values, some of which are expressions, reaches out of the store."""
    for value in values:
        if "(" in value:
            _check(value.encode(), refused)


def _check(text: bytes, refused: frozenset[bytes]) -> None:
    found = list(read_tokens(text))
    if not found:
        return
    first = found[0].word
    words = {token.word for token in found}
    if first in {b"BACKUP", b"RESTORE"} or (first == b"ATTACH" and b"FROM" in words):
        raise _refusal(first.decode())
    subject = _subject(found)
    filters = words & _FILTERS
    for at, token in enumerate(found):
        if token.kind == "string" and filters:
            _check(_plain(token.text), refused)
        if token.kind not in {"word", "quoted"}:
            continue
        name = _plain_name(token).lower()
        called = at + 1 < len(found) and found[at + 1].text == b"(" and at != subject
        if name in refused and (called or _is_engine(found, at) or _is_applied(found, at)):
            raise _refusal(_plain_name(token).decode(errors="replace"))
        if called and name in {b"format", b"input"}:
            _check_table_of_text(name, found[at + 2 : at + 8], refused)


def _is_applied(found: Sequence[Token], at: int) -> bool:
    """Return whether the token names the function of `APPLY f`, or of `arrayMap(f, …)`."""
    before, after = at - 1, at + 1
    while before >= 0 and found[before].text == b"(":
        before -= 1
    while after < len(found) and found[after].text == b")":
        after += 1
    if before < 0 or found[before].kind not in {"word", "quoted"}:
        return False
    if found[before].word == b"APPLY":
        return True
    higher_order = _plain_name(found[before]).lower().startswith((b"array", b"map", b"kql"))
    is_first = before < at - 1 and after < len(found) and found[after].text == b","
    return higher_order and is_first


def _check_table_of_text(
    name: bytes, arguments: Sequence[Token], refused: frozenset[bytes]
) -> None:
    """Return if `format(…)` or `input(…)` evaluates no expression that cannot be seen.

    As table functions, both take columns, whose defaults are expressions, in a string; and `format`
    parses rows, which may have expressions in the format Values. Strings may be computed.
    """
    if not arguments:
        return
    first = arguments[0]
    if name == b"input":
        if first.kind != "string" or len(arguments) < 2 or arguments[1].text != b")":
            raise _refusal("input() with anything but the list of its columns")
        _check(_plain(first.text), refused)
    elif first.kind != "string" or _WORD.fullmatch(_plain(first.text)):
        kinds = [token.kind if token.kind == "string" else token.text for token in arguments[1:]]
        with_columns = kinds[:5] == [b",", "string", b",", "string", b")"]
        is_plain = with_columns or kinds[:3] == [b",", "string", b")"]
        if not is_plain or first.kind != "word" or first.word == b"VALUES":
            raise _refusal("format() with the format Values, or with computed arguments,")
        if with_columns:
            _check(_plain(arguments[2].text), refused)


def _subject(found: Sequence[Token]) -> int:
    """Return which token is the last of the name of the statement's own table; -1 if none is."""
    at = 0
    while at < len(found) and found[at].word in _BEFORE_SUBJECT:
        at += 1
    if at == 0 or at == len(found):
        return -1
    while at + 2 < len(found) and found[at + 1].text == b".":
        at += 2
    return at


def _is_engine(found: Sequence[Token], at: int) -> bool:
    """Return whether the token is the name of an engine: after ENGINE, or ENGINE and `=`."""
    before = at - 2 if at > 1 and found[at - 1].text == b"=" else at - 1
    return before >= 0 and found[before].word == b"ENGINE"


def _plain_name(token: Token) -> bytes:
    return token.text if token.kind == "word" else _plain(token.text)


def _plain(quoted: bytes) -> bytes:
    """Return the text in quotes, with its escapes resolved."""
    if quoted[:1] == b"\xe2":  # typographic quotes, in which the engine knows no escapes: be safe
        return _resolved(quoted[3:-3])
    if quoted[:1] in b"xX":
        digits = quoted[2:-1].decode()
        return bytes.fromhex("0" * (len(digits) % 2) + digits)
    if quoted[:1] in b"bB":
        bits = quoted[2:-1]
        return int(bits or b"0", 2).to_bytes((len(bits) + 7) // 8, "big")
    inner = quoted[1:-1]
    if quoted[:1] == b"$":
        inner = quoted[quoted.index(b"$", 1) + 1 : quoted.rindex(b"$", 0, -1)]
    return _resolved(inner).replace(quoted[:1] * 2, quoted[:1])


def _resolved(text: bytes) -> bytes:
    """Return the text with its escapes resolved."""
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]) if found[1] else found[2], text)


def _refusal(name: str) -> StoreError:
    return StoreError(
        Code.SUPPORT_IS_DISABLED,
        f"{name} is not allowed here: this store reads and writes only its own tables",
    )
