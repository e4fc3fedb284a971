"""Parses SQL with sqlglot, in bounded time.

Function calls are parsed by their form alone, so that a tree has each name as it was written, and
no function gets a meaning that ClickHouse does not give it.
"""

import logging
from typing import Any, ClassVar, Final

from sqlglot import exp
from sqlglot.dialects.clickhouse import ClickHouse
from sqlglot.errors import ParseError, SqlglotError
from sqlglot.parsers.clickhouse import ClickHouseParser

from services.sql.errors import Refused

MAX_CHARS: Final = 32_768
MAX_DEPTH: Final = 40
_FIRST: Final = {"SELECT", "WITH", "(", "FROM"}
# The parser goes back and tries again where a text has several readings. A text of n tokens takes
# some n steps; one that is made to be read again and again takes more than this.
_STEPS_PER_TOKEN: Final = 30
_MIN_STEPS: Final = 2_000

# It warns of statements that it cannot parse, which are refused here.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)


class _TooManySteps(Exception):
    pass


class _Parser(ClickHouseParser):
    FUNCTIONS: ClassVar[dict[str, Any]] = {}
    FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
        "CAST": ClickHouseParser.FUNCTION_PARSERS["CAST"],
    }
    NO_PAREN_FUNCTIONS: ClassVar[dict[Any, Any]] = {}
    NO_PAREN_FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
        "CASE": ClickHouseParser.NO_PAREN_FUNCTION_PARSERS["CASE"],
    }

    steps_left = 0

    def _advance(self, times: int = 1) -> None:
        self.steps_left -= 1
        if self.steps_left < 0:
            raise _TooManySteps
        super()._advance(times)


class _Dialect(ClickHouse):
    # Indexes stay as they are written.
    INDEX_OFFSET = 0


_DIALECT: Final = _Dialect()


def parse(text: str) -> exp.Expr:
    """Return the tree of the one statement in `text`; takes up to a second for a hostile text.

    Raises:
        Refused: the text is too long, too deeply nested, or no statement that sqlglot can parse.
    """
    if len(text) > MAX_CHARS:
        raise Refused(f"has {len(text)} characters; accepted are up to {MAX_CHARS}")
    try:
        tokens = _DIALECT.tokenize(text)
        _check_start(text, tokens)
        _check_depth(text, tokens)
        parser = _Parser(dialect=_DIALECT)
        parser.steps_left = _MIN_STEPS + _STEPS_PER_TOKEN * len(tokens)
        statements = [one for one in parser.parse(tokens, text) if one is not None]
    except ParseError as error:
        raise _unparsable(text, error) from None
    except _TooManySteps:
        raise Refused("is too complicated to be parsed: simplify it") from None
    except RecursionError:
        raise Refused("is nested too deeply: simplify it") from None
    except (SqlglotError, ValueError, AttributeError, TypeError, IndexError, KeyError) as error:
        # sqlglot fails in its own ways on some texts that are no SQL.
        raise Refused(f"cannot be parsed: {_first_line(error)}") from None
    if not statements:
        raise Refused("is empty; accepted is a SELECT")
    if len(statements) > 1:
        raise Refused(f"has {len(statements)} statements; accepted is one", text, 0)
    return statements[0]


def _check_start(text: str, tokens: list[Any]) -> None:
    if tokens and tokens[0].text.upper() not in _FIRST:
        found = tokens[0].text[:100].upper()
        raise Refused(f"{found} is not allowed: accepted is a SELECT", text, tokens[0].start)


def _check_depth(text: str, tokens: list[Any]) -> None:
    depth = 0
    for token in tokens:
        if token.text in {"(", "[", "{"}:
            depth += 1
            if depth > MAX_DEPTH:
                raise Refused(f"brackets are nested more than {MAX_DEPTH} deep", text, token.start)
        elif token.text in {")", "]", "}"}:
            depth -= 1


def _unparsable(text: str, error: ParseError) -> Refused:
    described = error.errors[0] if error.errors else {}
    reason = str(described.get("description") or "cannot be parsed").rstrip(".")
    found = str(described.get("highlight") or "")
    shown = f"{reason}: {found[:100]!r}" if found else reason
    at = _offset(text, described.get("line"), described.get("col"), found)
    return Refused(f"{shown}; accepted is what sqlglot reads as ClickHouse's SQL", text, at)


def _offset(text: str, line: object, column: object, found: str) -> int | None:
    """Return where a token begins; sqlglot says on which line and column it ends."""
    if not isinstance(line, int) or not isinstance(column, int):
        return None
    lines = text.split("\n")
    return sum(len(one) + 1 for one in lines[: line - 1]) + max(0, column - max(1, len(found)))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]
