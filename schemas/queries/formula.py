"""Formulas over the series of a query: `A / B * 100`.

Series are named by letters, `A` for the first. `+ - * /`, parentheses and numbers are accepted. A
figure that is not known (null), and a division by zero, make the result null.
"""

import ast
import math
import re
from collections.abc import Mapping
from typing import Annotated, Final

from msgspec import Meta

from schemas.errors import InvalidRequest

MAX_DEPTH: Final = 20

FormulaText = Annotated[str, Meta(min_length=1, max_length=200)]
Figure = int | float | None

_MAX_NUMBER: Final = 1e15
# Python reads comments, underscores and other alphabets' letters, which are no part of a formula.
_CHARACTERS: Final = re.compile(r"[A-Za-z0-9.+\-*/() ]+")
_ACCEPTED: Final = "accepted are letters of series, numbers, parentheses and + - * /"


def check_formula(text: str, letters: str, path: str) -> None:
    """Refuse what is no formula over the series with these letters.

    Raises:
        InvalidRequest: names the field and what is accepted.
    """
    if not _CHARACTERS.fullmatch(text.strip()):
        raise InvalidRequest(f"is not a formula: {_ACCEPTED}", path)
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InvalidRequest(f"is not a formula: {_ACCEPTED}", path) from None
    _check(tree, letters, path, 0)


def evaluate(text: str, figures: Mapping[str, Figure]) -> Figure:
    """Return the result of a formula that `check_formula` accepts; null if it has none."""
    found = _value(ast.parse(text.strip(), mode="eval").body, figures)
    return found if found is None or math.isfinite(found) else None


def _check(node: ast.expr, letters: str, path: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InvalidRequest(f"must be nested at most {MAX_DEPTH} levels deep", path)
    match node:
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div(), right=right):
            _check(left, letters, path, depth + 1)
            _check(right, letters, path, depth + 1)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            _check(operand, letters, path, depth + 1)
        case ast.Name(id=name):
            if len(name) != 1 or name not in letters:
                known = ", ".join(letters)
                raise InvalidRequest(f"names no series {name!r}: there are {known}", path)
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            if not abs(number) < _MAX_NUMBER:
                raise InvalidRequest(f"has a number that is not below {_MAX_NUMBER:g}", path)
        case _:
            raise InvalidRequest(f"is not a formula: {_ACCEPTED}", path)


def _value(node: ast.expr, figures: Mapping[str, Figure]) -> Figure:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name):
            return figures[name]
        case ast.UnaryOp(operand=operand):
            value = _value(operand, figures)
            return None if value is None else -value
        case ast.BinOp(left=left, op=operator, right=right):
            return _combined(_value(left, figures), operator, _value(right, figures))
    raise AssertionError("formulas are checked when they are decoded")


def _combined(left: Figure, operator: ast.operator, right: Figure) -> Figure:
    if left is None or right is None:
        return None
    match operator:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return _product(left, right)
    return left / right if right else None


def _product(left: float, right: float) -> Figure:
    """Return a product: of 63 bits and more as a double, so that it stays one number of JSON."""
    product = left * right
    return float(product) if abs(product) >= 2**63 else product
