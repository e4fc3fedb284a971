"""Random SQL, made of allowed and forbidden parts, whole and broken."""

from hypothesis import strategies as st

NAMES = (
    "event",
    "person_id",
    "timestamp",
    "project_id",
    "properties.plan",
    "x",
    "`a``b`",
    "e.event",
)
LITERALS = (
    "1",
    "0.5",
    "'a'",
    "'it''s'",
    "'\\\\'",
    "NULL",
    "true",
    "[1, 2]",
    "(1, 'a')",
    "{p:String}",
)
FORBIDDEN_EXPRESSIONS = (
    "file('/etc/passwd')",
    "dictGet('a', 'b', 1)",
    "joinGet('a', 'b', 1)",
    "arrayMap(file, ['/etc/passwd'])",
    "arrayMap(x -> file(x), ['/etc/passwd'])",
    "getSetting('additional_table_filters')",
    "{t:Identifier}",
    "1 IN {database}.events",
    "event IN system.tables",
    "(SELECT count() FROM system.tables)",
    "(SELECT count() FROM {database}.events)",
    "'; DROP TABLE {database}.events --",
    "`a` /* ",
    "COLUMNS('.*')",
    "* APPLY(file)",
    "__avila_event.project_id",
)
SOURCES = ("events", "avila.events", "persons", "events AS e", "(SELECT 1 AS x) AS e", "w")
FORBIDDEN_SOURCES = (
    "{database}.events",
    "{database}.predictions",
    "system.tables",
    "information_schema.tables",
    "file('/etc/passwd', LineAsString)",
    "url('http://127.0.0.1:1/', CSV)",
    "s3('http://127.0.0.1:1/x', CSV)",
    "remote('127.0.0.1', {database}, events)",
    "merge('{database}', '.*')",
    "view(SELECT * FROM {database}.events)",
    "cluster('default', {database}, events)",
    "events FINAL",
    "{t:Identifier}",
    "'x.csv'",
    "numbers(10)",
    "__avila_with_1",
)
TAILS = (
    "",
    " LIMIT 3",
    " ORDER BY 1",
    " SETTINGS readonly = 0",
    " FORMAT JSON",
    " INTO OUTFILE 'x'",
    ";",
)


def _expressions() -> st.SearchStrategy[str]:
    allowed = st.sampled_from(NAMES + LITERALS)
    leaves = st.integers(0, 9).flatmap(
        lambda n: allowed if n else st.sampled_from(FORBIDDEN_EXPRESSIONS)
    )

    def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.one_of(
            st.builds("count({})".format, inner),
            st.builds("toString({})".format, inner),
            st.builds("if({}, {}, {})".format, inner, inner, inner),
            st.builds("({} = {})".format, inner, inner),
            st.builds("{} AND {}".format, inner, inner),
            st.builds("{} IN ({})".format, inner, inner),
            st.builds("arrayMap(x -> {}, [1])".format, inner),
            st.builds("CAST({} AS String)".format, inner),
            st.builds("{} AS project_id".format, inner),
            st.builds("CASE WHEN {} THEN {} END".format, inner, inner),
            st.builds("(SELECT {} FROM events)".format, inner),
            st.builds("EXISTS(SELECT {} FROM persons)".format, inner),
        )

    return st.recursive(leaves, larger, max_leaves=6)


@st.composite
def statements(draw: st.DrawFn) -> str:
    """A statement; `{database}` stands for the database of the tables."""
    expressions = _expressions()
    sources = st.one_of(
        *(st.sampled_from(SOURCES) for _ in range(4)),
        st.sampled_from(FORBIDDEN_SOURCES),
        st.builds("(SELECT {} FROM events) AS s".format, expressions),
    )
    text = f"SELECT {', '.join(draw(st.lists(expressions, min_size=1, max_size=3)))}"
    text += f" FROM {draw(sources)}"
    if draw(st.booleans()):
        text += f" JOIN {draw(sources)} AS j ON {draw(expressions)}"
    if draw(st.booleans()):
        text += f" WHERE {draw(expressions)}"
    if draw(st.booleans()):
        text = f"WITH {draw(expressions)} AS project_id, w AS (SELECT 1 AS x) {text}"
    if draw(st.booleans()):
        text += f" UNION ALL SELECT * FROM {draw(sources)}"
    text += draw(st.sampled_from(TAILS)) if draw(st.booleans()) else ""
    if draw(st.integers(0, 9)) == 0:  # broken
        at = draw(st.integers(0, len(text)))
        text = (
            text[:at]
            + draw(st.sampled_from(("'", "`", "(", "/*", "--", "{", "\x00", "é")))
            + text[at:]
        )
    return text
