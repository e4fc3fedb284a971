"""Prints expressions, and refuses those that are not listed here.

Printing and checking are one: a node that has no printer is refused, and so is a node with a part
that its printer does not print. Nothing of the text that was received gets into what is printed,
but names and values, each quoted.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final, NoReturn

from sqlglot import exp

from services.sql.errors import Refused
from services.sql.functions import HIGHER_ORDER, find_function
from services.sql.text import identifier, number, parameter_name, string
from services.sql.types import read_type, type_sql

_BINARY: Final[dict[type[exp.Expr], str]] = {
    exp.And: "AND",
    exp.Or: "OR",
    exp.Add: "+",
    exp.Sub: "-",
    exp.Mul: "*",
    exp.Div: "/",
    exp.IntDiv: "DIV",
    exp.Mod: "%",
    exp.DPipe: "||",
    exp.EQ: "=",
    exp.NEQ: "!=",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.NullSafeEQ: "<=>",
    exp.Like: "LIKE",
    exp.ILike: "ILIKE",
}
# What sqlglot adds to nodes, and does not change what they mean.
_HARMLESS: Final = {"typed", "safe", "optional_parens", "value_constructor", "bracket_notation"}
_CALLS: Final = (
    exp.Anonymous,
    exp.AnonymousAggFunc,
    exp.CombinedAggFunc,
    exp.ParameterizedAgg,
    exp.CombinedParameterizedAgg,
)
_UNITS: Final = {
    name.upper(): name
    for name in (
        *("Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour", "Day"),
        *("Week", "Month", "Quarter", "Year"),
    )
}
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_HEXADECIMAL: Final = re.compile(r"[0-9A-Fa-f]{1,64}", re.ASCII)
_FRAME_SIDES: Final = {"PRECEDING", "FOLLOWING"}


class Expressions:
    """Prints the expressions of one statement.

    Attributes:
        parameters: the types of the statement's parameters, by name.
    """

    def __init__(self, text: str, database: str, user: str) -> None:
        self.text = text
        self.parameters: dict[str, str] = {}
        self._database = database
        self._session = {"currentDatabase": database, "currentUser": user}

    def query(self, node: exp.Expr) -> str:
        """Print a query, without brackets; the class below prints queries."""
        raise NotImplementedError

    def expression(self, node: object) -> str:
        """Print an expression.

        Raises:
            Refused: a part of it is not allowed.
        """
        if not isinstance(node, exp.Expr):
            raise Refused("an expression is missing")
        return self.at(node, self._print)

    def at(self, node: exp.Expr, printed: Callable[[exp.Expr], str]) -> str:
        """Print a node; a refusal that has no place gets the place of the node."""
        try:
            return printed(node)
        except Refused as error:
            if error.at is not None or (at := _start(node)) is None:
                raise
            raise Refused(error.why, self.text, at) from None

    def all(self, nodes: Iterable[exp.Expr]) -> str:
        """Print expressions with commas between them."""
        return ", ".join(self.expression(one) for one in nodes)

    def only(self, node: exp.Expr, *accepted: str) -> None:
        """Refuse a node that has other parts than these."""
        for name, value in node.args.items():
            if name not in accepted and name not in _HARMLESS and value not in (None, False, []):
                raise Refused(f"{_title(name)} is not supported in {_kind(node)}")

    def _print(self, node: exp.Expr) -> str:
        if (sign := _BINARY.get(type(node))) is not None:
            self.only(node, "this", "expression")
            return f"({self.expression(node.this)} {sign} {self.expression(node.expression)})"
        if isinstance(node, _CALLS):
            return self._call(node)
        match node:
            case exp.Column():
                return self._column(node)
            case exp.Identifier():
                return identifier(node.name)
            case exp.Literal():
                return string(node.this) if node.is_string else number(node.this)
            case exp.Null():
                return "NULL"
            case exp.Boolean():
                return "true" if node.this else "false"
            case exp.HexString(this=str() as digits) if _HEXADECIMAL.fullmatch(digits):
                return f"0x{digits}"
            case exp.Paren():
                self.only(node, "this")
                return f"({self.expression(node.this)})"
            case exp.Neg():
                return f"(-{self.expression(node.this)})"
            case exp.Not():
                return f"(NOT {self.expression(node.this)})"
            case exp.Alias():
                self.only(node, "this", "alias")
                return f"({self.expression(node.this)} AS {self.name(node.args['alias'])})"
            case exp.Is():
                return self._is(node)
            case exp.Between():
                self.only(node, "this", "low", "high")
                low, high = (self.expression(node.args[name]) for name in ("low", "high"))
                return f"({self.expression(node.this)} BETWEEN {low} AND {high})"
            case exp.In():
                return self._in(node)
            case exp.Case():
                return self._case(node)
            case exp.If():
                self.only(node, "this", "true", "false")
                parts = (node.this, node.args.get("true"), node.args.get("false"))
                return f"if({', '.join(self.expression(one) for one in parts)})"
            case exp.CastToStrType():
                kind = read_type(node.args["to"].name)
                return f"CAST({self.expression(node.this)} AS {type_sql(kind)})"
            case exp.JSONCast():
                self.only(node, "this", "to")
                return f"{self._path(node.this)}.:{type_sql(node.args['to'])}"
            case exp.Cast() if type(node) is exp.Cast:
                self.only(node, "this", "to")
                return f"CAST({self.expression(node.this)} AS {type_sql(node.args['to'])})"
            case exp.NestedJSONSelect(this=inner, expression=exp.Column() as path):
                return f"{self._path(inner)}.^{self._column(path)}"
            case exp.Dot():
                self.only(node, "this", "expression")
                return f"{self.expression(node.this)}.{self._member(node.expression)}"
            case exp.Bracket():
                self.only(node, "this", "expressions")
                return f"({self.expression(node.this)})[{self.all(node.expressions)}]"
            case exp.Array():
                self.only(node, "expressions")
                return f"[{self.all(node.expressions)}]"
            case exp.Tuple():
                self.only(node, "expressions")
                return f"tuple({self.all(node.expressions)})"
            case exp.Interval():
                return self._interval(node)
            case exp.Placeholder():
                return self._parameter(node)
            case exp.Window():
                return self._window(node)
            case exp.IgnoreNulls() | exp.RespectNulls():
                treatment = "IGNORE" if isinstance(node, exp.IgnoreNulls) else "RESPECT"
                return f"{self.expression(node.this)} {treatment} NULLS"
            case exp.Subquery() if not node.args.get("alias"):
                return f"({self.query(node)})"
            case exp.Exists(this=exp.Query() as query):
                return f"EXISTS({self.query(query)})"
        return _refuse(node)

    # ── names ────────────────────────────────────────────────────────────────────────────────────

    def name(self, node: exp.Expr | str) -> str:
        """Print a name; raises `Refused` for what is none."""
        if isinstance(node, exp.Identifier):
            return self.at(node, lambda one: identifier(one.name))
        raise Refused("a name is expected")

    def _column(self, node: exp.Column) -> str:
        self.only(node, "this", "table", "db", "catalog")
        parts = [*(node.args.get(name) for name in ("catalog", "db", "table")), node.this]
        given = [one for one in parts if one is not None]
        if len(given) > 2 and given[0].name == self._database:
            del given[0]  # a view has its own name in a statement, without the database
        return ".".join(map(self._member, given))

    def _member(self, node: exp.Expr) -> str:
        match node:
            case exp.Star():
                return self.star(node)
            case exp.Literal() if not node.is_string and str(node.this).isdecimal():
                return number(node.this)
        return self.name(node)

    def star(self, node: exp.Star) -> str:
        """Print a `*`; raises `Refused` if it has more than EXCEPT and REPLACE."""
        self.only(node, "except_", "replace")
        text = "*"
        if excluded := node.args.get("except_"):
            names = (one.this if isinstance(one, exp.Column) else one for one in excluded)
            text += f" EXCEPT ({', '.join(map(self.name, names))})"
        if replaced := node.args.get("replace"):
            pairs = (
                f"{self.expression(one.this)} AS {self.name(one.args['alias'])}" for one in replaced
            )
            text += f" REPLACE ({', '.join(pairs)})"
        return text

    def _path(self, node: exp.Expr) -> str:
        if isinstance(node, exp.Column | exp.Dot | exp.NestedJSONSelect | exp.JSONCast):
            return self.expression(node)
        raise Refused("only a column has typed paths")

    # ── calls ────────────────────────────────────────────────────────────────────────────────────

    def _call(self, node: exp.Expr) -> str:
        self.only(node, "this", "expressions", "params")
        written = node.name
        name = find_function(written)
        if name is None:
            shown = written if len(written) <= 100 else f"{written[:100]}…"
            raise Refused(f"the function {shown} is not allowed: docs/sql.md lists those that are")
        if constant := self._session.get(name):
            return string(constant)
        arguments = node.expressions
        if name in HIGHER_ORDER and len(arguments) > 1 and not isinstance(arguments[0], exp.Lambda):
            raise Refused(f"{name} takes a lambda first, such as x -> x + 1")
        printed = f"{name}({self._arguments(arguments)})"
        if "params" in node.args:
            printed += f"({self._arguments(node.args['params'])})"
        return printed

    def _arguments(self, nodes: Iterable[exp.Expr]) -> str:
        return ", ".join(self.at(one, self._argument) for one in nodes)

    def _argument(self, node: exp.Expr) -> str:
        match node:
            case exp.Star():
                return self.star(node)
            case exp.Distinct():
                self.only(node, "expressions")
                return f"DISTINCT {self.all(node.expressions)}"
            case exp.Lambda():
                self.only(node, "this", "expressions")
                names = ", ".join(self.name(one) for one in node.expressions)
                return f"({names}) -> {self.expression(node.this)}"
        return self.expression(node)

    def _window(self, node: exp.Window) -> str:
        self.only(node, "this", "partition_by", "order", "spec", "alias", "over")
        if not isinstance(node.this, (*_CALLS, exp.IgnoreNulls, exp.RespectNulls)):
            raise Refused("OVER belongs to a function")
        over = self.name(node.args["alias"]) if node.args.get("alias") else f"({self.frame(node)})"
        return f"{self.expression(node.this)} OVER {over}"

    def frame(self, node: exp.Window) -> str:
        """Print what is in the brackets of a window."""
        parts = []
        if partition := node.args.get("partition_by"):
            parts.append(f"PARTITION BY {self.all(partition)}")
        if order := node.args.get("order"):
            parts.append(self.order(order))
        if spec := node.args.get("spec"):
            self.only(spec, "kind", "start", "start_side", "end", "end_side")
            kind = str(spec.args.get("kind")).upper()
            if kind not in {"ROWS", "RANGE"}:
                raise Refused("a frame is of ROWS or of a RANGE")
            end = self._bound(spec, "end") if spec.args.get("end") else "CURRENT ROW"
            parts.append(f"{kind} BETWEEN {self._bound(spec, 'start')} AND {end}")
        return " ".join(parts)

    def _bound(self, spec: exp.Expr, name: str) -> str:
        bound = spec.args.get(name)
        if bound == "CURRENT ROW":
            return "CURRENT ROW"
        side = str(spec.args.get(f"{name}_side")).upper()
        if side not in _FRAME_SIDES:
            raise Refused("a frame is bounded by rows PRECEDING or FOLLOWING")
        return f"{bound if bound == 'UNBOUNDED' else self.expression(bound)} {side}"

    def order(self, node: exp.Expr) -> str:
        """Print ORDER BY."""
        self.only(node, "expressions")
        return f"ORDER BY {', '.join(self.at(one, self._ordered) for one in node.expressions)}"

    def _ordered(self, node: exp.Expr) -> str:
        if not isinstance(node, exp.Ordered):
            return self.expression(node)
        self.only(node, "this", "desc", "nulls_first", "with_fill")
        text = self.expression(node.this) + (" DESC" if node.args.get("desc") else "")
        if node.args.get("nulls_first"):
            text += " NULLS FIRST"
        fill = node.args.get("with_fill")
        text += " WITH FILL" if fill else ""
        if isinstance(fill, exp.Expr):
            self.only(fill, "from_", "to", "step")
            for word, name in (("FROM", "from_"), ("TO", "to"), ("STEP", "step")):
                if fill.args.get(name):
                    text += f" {word} {self.expression(fill.args[name])}"
        return text

    # ── the rest ─────────────────────────────────────────────────────────────────────────────────

    def _is(self, node: exp.Is) -> str:
        if isinstance(node.expression, exp.Null):
            return f"({self.expression(node.this)} IS NULL)"
        raise Refused("IS is allowed with NULL only")

    def _in(self, node: exp.In) -> str:
        self.only(node, "this", "expressions", "query", "field", "is_global")
        value = self.expression(node.this)
        if query := node.args.get("query"):
            return f"({value} IN ({self.query(query)}))"
        if field := node.args.get("field"):
            if isinstance(field, exp.Column | exp.Identifier | exp.Table | exp.Dot):
                # ClickHouse would read the table of that name.
                raise Refused("IN takes a list or a subquery: write has(array, value) for a column")
            return f"({value} IN {self.expression(field)})"
        # As a function, because ClickHouse reads a lone name in brackets as that of a table.
        return f"({value} IN tuple({self.all(node.expressions)}))"

    def _case(self, node: exp.Case) -> str:
        self.only(node, "this", "ifs", "default")
        parts = [] if node.this is None else [self.expression(node.this)]
        for one in node.args["ifs"]:
            self.only(one, "this", "true")
            parts.append(
                f"WHEN {self.expression(one.this)} THEN {self.expression(one.args['true'])}"
            )
        if node.args.get("default") is not None:
            parts.append(f"ELSE {self.expression(node.args['default'])}")
        return f"(CASE {' '.join(parts)} END)"

    def _interval(self, node: exp.Interval) -> str:
        self.only(node, "this", "unit")
        unit = node.args.get("unit")
        written = unit.name.upper() if isinstance(unit, exp.Var) else ""
        name = _UNITS.get(written) or _UNITS.get(written.removesuffix("S"))
        if name is None:
            raise Refused(f"accepted units of an INTERVAL are {', '.join(_UNITS)}")
        value = node.this
        is_number = isinstance(value, exp.Literal) and _WHOLE.fullmatch(value.this)
        return f"toInterval{name}({value.this if is_number else self.expression(value)})"

    def _parameter(self, node: exp.Placeholder) -> str:
        kind = node.args.get("kind")
        if not isinstance(kind, exp.DataType) or node.this is None:
            raise Refused("a parameter has a name and a type of values, such as {from:Date}")
        name, printed = parameter_name(node.name), type_sql(kind)
        if self.parameters.setdefault(name, printed) != printed:
            raise Refused(f"the parameter {name} has two types")
        return f"{{{name}:{printed}}}"


def _refuse(node: exp.Expr) -> NoReturn:
    raise Refused(f"{_kind(node)} is not allowed")


def _kind(node: exp.Expr) -> str:
    return node.key.upper()


def _title(name: str) -> str:
    return name.strip("_").replace("_", " ").upper()


def _start(node: exp.Expr) -> int | None:
    """Return the offset of the first token of a node, or of the nearest node that knows its own."""
    starts = [one.meta["start"] for one in node.walk() if "start" in one.meta]
    if starts:
        return int(min(starts))
    return _start(node.parent) if node.parent is not None else None
