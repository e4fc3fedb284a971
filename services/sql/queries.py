"""Prints queries: SELECT, WITH, UNION, INTERSECT, EXCEPT, over views only.

A name after FROM or JOIN is a query of the statement's own WITH, or a view. Neither is printed as
a name: a view is printed as the subquery that it is, and a query of WITH gets a name of ours, which
no table has. So no mistake about which of the two is meant can reach a table.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from sqlglot import exp

from services.sql.errors import Refused
from services.sql.expressions import Expressions
from services.sql.parsing import parse
from services.sql.text import RESERVED_PREFIX, identifier, quoted

_SET_OPERATIONS: Final = {exp.Union: "UNION", exp.Intersect: "INTERSECT", exp.Except: "EXCEPT"}
_SIDES: Final = {"", "LEFT", "RIGHT", "FULL"}
_KINDS: Final = {"", "INNER", "OUTER", "CROSS", "ANY", "ALL", "ASOF", "SEMI", "ANTI"}
_CLAUSES: Final = (
    *("expressions", "distinct", "from_", "joins", "where", "group", "having", "qualify"),
    *("windows", "order", "limit", "offset", "with_"),
)
_MAX_PRINTED_CHARS: Final = 262_144


class Catalog(NamedTuple):
    """What a statement may read.

    `views` has the queries of views by database and name. Names without a database are those of
    `database`. `user` is what `currentUser()` returns.
    """

    database: str
    views: Mapping[str, Mapping[str, str]]
    user: str


class Checked(NamedTuple):
    """A statement that was printed from its checked tree.

    `parameters` has the types of those that it uses, by name; `format` is what its FORMAT names.
    """

    text: str
    parameters: Mapping[str, str]
    format: str


def check(text: str, catalog: Catalog) -> Checked:
    """Return the statement that does what `text` says; it takes up to a second.

    Raises:
        Refused: `text` is no single query, or reads or calls what is not allowed.
    """
    tree = parse(text)
    try:
        printer = _Queries(text, catalog)
        named = ""
        if isinstance(tree, exp.Query) and (clause := tree.args.get("format")) is not None:
            named = clause.name
            tree.set("format", None)
        printed = printer.at(tree, printer.query)
    except RecursionError:
        raise Refused("is nested too deeply: simplify it") from None
    if len(printed) > _MAX_PRINTED_CHARS:
        raise Refused("is too long: name a view once, in WITH, and refer to it")
    return Checked(printed, printer.parameters, named)


class _Queries(Expressions):
    def __init__(self, text: str, catalog: Catalog) -> None:
        super().__init__(text, catalog.database, catalog.user)
        self._catalog = catalog
        self._scope: Mapping[str, str] = {}
        self._named = 0

    def query(self, node: exp.Expr) -> str:
        """Print a query, without brackets around it."""
        outer = self._scope
        try:
            return self.at(node, self._query)
        finally:
            self._scope = outer

    def _query(self, node: exp.Expr) -> str:
        match node:
            case exp.Select():
                return self._select(node)
            case exp.Union() | exp.Intersect() | exp.Except():
                return self._set_operation(node)
            case exp.Subquery():
                self.only(node, "this", "order", "limit", "offset", "with_")
                if any(node.args.get(name) for name in ("order", "limit", "offset", "with_")):
                    head, inner = self._with(node), self.query(node.this)
                    return f"{head}SELECT * FROM ({inner}){self._tail(node)}"  # noqa: S608 (printed here)
                return self.query(node.this)
        raise Refused(f"{_statement(node)} is not allowed: accepted is a SELECT")

    def _set_operation(self, node: exp.SetOperation) -> str:
        self.only(node, "this", "expression", "distinct", "order", "limit", "offset", "with_")
        head = self._with(node)
        word = _SET_OPERATIONS[type(node)]
        distinct = "DISTINCT" if node.args.get("distinct") else "ALL"
        if not isinstance(node, exp.Union) and distinct == "ALL":
            distinct = ""
        printed = f"({self.query(node.left)}) {word} {distinct} ({self.query(node.right)})"
        tail = self._tail(node)
        if not head and not tail:
            return printed
        return f"{head}SELECT * FROM ({printed}){tail}"  # noqa: S608 (printed here)

    def _select(self, node: exp.Select) -> str:
        self.only(node, *_CLAUSES)
        parts = [f"{self._with(node)}SELECT"]
        if distinct := node.args.get("distinct"):
            self.only(distinct, "on")
            parts.append("DISTINCT")
            if on := distinct.args.get("on"):
                parts.append(f"ON ({self.all(on.expressions)})")
        if not node.expressions:
            raise Refused("SELECT has no columns; a comment begins with -- and takes the rest")
        parts.append(", ".join(self.at(one, self._selected) for one in node.expressions))
        if source := node.args.get("from_"):
            parts.append(f"FROM {self._source(source.this)}")
        parts += (self.at(one, self._join) for one in node.args.get("joins") or ())
        if where := node.args.get("where"):
            parts.append(f"WHERE {self.expression(where.this)}")
        if group := node.args.get("group"):
            parts.append(self._group(group))
        if having := node.args.get("having"):
            parts.append(f"HAVING {self.expression(having.this)}")
        if windows := node.args.get("windows"):
            named = (f"{self.name(one.this)} AS ({self._named_frame(one)})" for one in windows)
            parts.append(f"WINDOW {', '.join(named)}")
        if qualify := node.args.get("qualify"):
            parts.append(f"QUALIFY {self.expression(qualify.this)}")
        return " ".join(parts) + self._tail(node)

    def _selected(self, node: exp.Expr) -> str:
        match node:
            case exp.Star():
                return self.star(node)
            case exp.Alias():
                self.only(node, "this", "alias")
                return f"{self.expression(node.this)} AS {self.name(node.args['alias'])}"
        return self.expression(node)

    def _named_frame(self, node: exp.Expr) -> str:
        if not isinstance(node, exp.Window):
            raise Refused("a window is expected")
        self.only(node, "this", "partition_by", "order", "spec")
        return self.frame(node)

    def _tail(self, node: exp.Expr) -> str:
        """Print ORDER BY, LIMIT and OFFSET, with a blank before each."""
        text = ""
        if order := node.args.get("order"):
            text += f" {self.order(order)}"
        offset = node.args.get("offset")
        if limit := node.args.get("limit"):
            if not isinstance(limit, exp.Limit):
                raise Refused("FETCH is not allowed: write LIMIT")
            self.only(limit, "expression", "expressions", "limit_options")
            count = self.expression(limit.expression)
            if by := limit.expressions:
                skipped = f" OFFSET {self.expression(offset.expression)}" if offset else ""
                return f"{text} LIMIT {count}{skipped} BY {self.all(by)}"
            text += f" LIMIT {count}"
            if options := limit.args.get("limit_options"):
                self.only(options, "with_ties")
                text += " WITH TIES"
        if offset:
            self.only(offset, "expression")
            text += f" OFFSET {self.expression(offset.expression)}"
        return text

    def _group(self, node: exp.Expr) -> str:
        self.only(node, "expressions", "totals", "rollup", "cube", "all")
        if node.args.get("all"):
            return "GROUP BY ALL"
        text = f"GROUP BY {', '.join(self.at(one, self._grouped) for one in node.expressions)}"
        for name in ("rollup", "cube", "totals"):
            if node.args.get(name):
                text += f" WITH {name.upper()}"
        return text

    def _grouped(self, node: exp.Expr) -> str:
        match node:
            case exp.GroupingSets():
                sets = (
                    f"({self.all(one.expressions if isinstance(one, exp.Tuple) else [one])})"
                    for one in node.expressions
                )
                return f"GROUPING SETS ({', '.join(sets)})"
            case exp.Rollup() | exp.Cube():
                return f"{node.key.upper()}({self.all(node.expressions)})"
        return self.expression(node)

    # ── sources ──────────────────────────────────────────────────────────────────────────────────

    def _with(self, node: exp.Expr) -> str:
        """Print WITH, and let the rest of the query see what it names."""
        clause = node.args.get("with_")
        if clause is None:
            return ""
        self.only(clause, "expressions")
        parts = [self.at(one, self._named_query) for one in clause.expressions]
        return f"WITH {', '.join(parts)} "

    def _named_query(self, node: exp.Expr) -> str:
        if not isinstance(node, exp.CTE):
            raise Refused("a query or an expression is expected after WITH")
        self.only(node, "this", "alias", "scalar")
        alias = node.args["alias"]
        self.only(alias, "this")
        name = self.name(alias.this)
        if node.args.get("scalar"):
            return f"{self.expression(node.this)} AS {name}"
        printed = self.query(node.this)
        self._named += 1
        ours = quoted(f"{RESERVED_PREFIX}_with_{self._named}")
        self._scope = {**self._scope, alias.name: ours}
        return f"{ours} AS ({printed})"

    def _source(self, node: exp.Expr) -> str:
        return self.at(node, self._print_source)

    def _print_source(self, node: exp.Expr) -> str:
        match node:
            case exp.Table():
                return self._table(node)
            case exp.Subquery():
                self.only(node, "this", "alias", "order", "limit", "offset", "with_")
                alias = node.args.get("alias")
                node.set("alias", None)
                return f"({self.query(node)}){self._alias(alias)}"
        raise Refused(f"{_statement(node)} is not allowed as a source of rows")

    def _table(self, node: exp.Table) -> str:
        named = node.this
        if not isinstance(named, exp.Identifier):
            shown = named.name[:100] if named is not None else ""
            raise Refused(f"the table function {shown} is not allowed: {self._accepted()}")
        self.only(node, "this", "db", "alias")
        database = node.args.get("db")
        alias = node.args.get("alias")
        if database is None and (ours := self._scope.get(named.name)):
            return f"{ours}{self._alias(alias, named.name)}"
        views = self._catalog.views.get(database.name if database else self._catalog.database, {})
        view = views.get(named.name)
        if view is None:
            shown = f"{database.name}.{named.name}" if database else named.name
            raise Refused(f"there is no table {shown[:200]!r}: {self._accepted()}")
        return f"({view}){self._alias(alias, named.name)}"

    def _accepted(self) -> str:
        names = ", ".join(self._catalog.views[self._catalog.database])
        return f"accepted are {names}, and the queries of WITH"

    def _alias(self, node: exp.Expr | None, otherwise: str = "") -> str:
        if node is None:
            return f" AS {identifier(otherwise)}" if otherwise else ""
        self.only(node, "this")
        return f" AS {self.name(node.this)}"

    def _join(self, node: exp.Expr) -> str:
        if not isinstance(node, exp.Join):
            raise Refused("a JOIN is expected")
        self.only(node, "this", "side", "kind", "on", "using")
        side, kind = (str(node.args.get(name) or "").upper() for name in ("side", "kind"))
        if kind == "ARRAY" and side in {"", "LEFT"}:
            return f"{side} ARRAY JOIN {self._selected(node.this)}".strip()
        if side not in _SIDES or kind not in _KINDS:
            raise Refused(f"a {side} {kind} JOIN is not allowed")
        text = f"{side} {kind} JOIN {self._source(node.this)}".strip()
        if (on := node.args.get("on")) is not None:
            text += f" ON {self.expression(on)}"
        if using := node.args.get("using"):
            names = (one.this if isinstance(one, exp.Column) else one for one in using)
            text += f" USING ({', '.join(map(self.name, names))})"
        return text


def _statement(node: exp.Expr) -> str:
    if isinstance(node, exp.Command):
        return str(node.this).upper()[:100]
    return node.key.upper()
