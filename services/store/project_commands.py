"""SHOW, DESCRIBE and EXISTS of a project's user, as queries of the views of `system`."""

from collections.abc import Sequence
from typing import Final

from services.sql.system import SYSTEM, system_views
from services.sql.text import string
from services.sql.views import DATABASE, VIEWS
from services.store.errors import Code, StoreError
from services.store.statements import Token, read_tokens

_VIEW_NAMES: Final = {DATABASE: {one.name for one in VIEWS}, SYSTEM: set(system_views())}
_COLUMNS: Final = (
    "name, type, default_kind AS default_type, default_expression, comment, "
    "compression_codec AS codec_expression, '' AS ttl_expression"
)


def as_query(text: str) -> str:
    """Return the query that answers a command, or the text itself if it is none.

    Raises:
        StoreError: it is a command of this sort that is not supported, or about what is not there.
    """
    tokens = [one for one in read_tokens(text.encode()) if one.text != b";"]
    words = [_word(one) for one in tokens]
    match words:
        case ["SHOW", "DATABASES", *rest]:
            liked = _like(tokens[2:], rest)
            return f"SELECT name FROM system.databases{liked} ORDER BY name"  # noqa: S608 (checked like all)
        case ["SHOW", "TABLES", *_]:
            return _show_tables(tokens[2:])
        case ["DESCRIBE" | "DESC", "TABLE", *_] if words[2:3] != ["("]:
            return _describe(tokens[2:])
        case ["DESCRIBE" | "DESC", *_] if "(" not in words[1:3]:
            return _describe(tokens[1:])
        case ["EXISTS", "DATABASE", _]:
            return f"SELECT toUInt8({int(_name(tokens[2]) in _VIEW_NAMES)}) AS result"
        case ["EXISTS", "TABLE" | "VIEW", *_]:
            return _exists(tokens[2:])
        case ["EXISTS", *_] if "(" not in words[1:2]:
            return _exists(tokens[1:])
        case ["SHOW", *_]:
            raise StoreError(
                Code.ACCESS_DENIED,
                "Accepted are SHOW DATABASES, SHOW TABLES, DESCRIBE TABLE, EXISTS TABLE and SELECT",
            )
    return text


def described_query(text: str) -> str | None:
    """Return the query whose columns `DESCRIBE TABLE (…)` asks for; None for anything else."""
    tokens = list(read_tokens(text.encode()))
    words = [_word(one) for one in tokens]
    if words[:1] not in (["DESCRIBE"], ["DESC"]):
        return None
    first = 2 if words[1:2] == ["TABLE"] else 1
    if words[first : first + 1] != ["("]:
        return None
    closing = [at for at, one in enumerate(tokens) if one.text == b")" and one.depth == 0]
    if not closing or closing[0] != len(tokens) - 1:
        raise StoreError(Code.SYNTAX_ERROR, "Accepted is DESCRIBE TABLE (SELECT …)")
    return text.encode()[tokens[first].end : tokens[-1].start].decode()


def _show_tables(rest: Sequence[Token]) -> str:
    database = DATABASE
    words = [_word(one) for one in rest]
    if words[:1] in (["FROM"], ["IN"]) and len(rest) > 1:
        database = _name(rest[1])
        rest, words = rest[2:], words[2:]
    liked = _like(rest, words).replace(" WHERE ", " AND ")
    return (
        f"SELECT name FROM system.tables WHERE database = {string(database)}{liked} ORDER BY name"  # noqa: S608 (checked like all)
    )


def _like(tokens: Sequence[Token], words: Sequence[str]) -> str:
    match list(words):
        case []:
            return ""
        case ["LIKE" | "ILIKE" as word, _] if tokens[-1].kind == "string":
            return f" WHERE name {word} {tokens[-1].text.decode()}"
    raise StoreError(Code.SYNTAX_ERROR, "Accepted are FROM and LIKE here")


def _describe(tokens: Sequence[Token]) -> str:
    database, name = _table(tokens)
    if name not in _VIEW_NAMES.get(database, ()):
        raise StoreError(Code.UNKNOWN_TABLE, f"Table {database}.{name} does not exist")
    return (
        f"SELECT {_COLUMNS} FROM system.columns WHERE database = {string(database)} "  # noqa: S608 (checked like all)
        f"AND table = {string(name)} ORDER BY position"
    )


def _exists(tokens: Sequence[Token]) -> str:
    database, name = _table(tokens)
    return f"SELECT toUInt8({int(name in _VIEW_NAMES.get(database, ()))}) AS result"


def _table(tokens: Sequence[Token]) -> tuple[str, str]:
    match [one.text for one in tokens]:
        case [_]:
            return DATABASE, _name(tokens[0])
        case [_, b".", _]:
            return _name(tokens[0]), _name(tokens[2])
    raise StoreError(Code.SYNTAX_ERROR, "The name of a table is expected")


def _name(token: Token) -> str:
    text = token.text.decode()
    return text[1:-1] if token.kind == "quoted" else text


def _word(token: Token) -> str:
    return token.word.decode() or token.text.decode()
