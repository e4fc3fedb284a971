"""The route of SQL, and its description."""

from typing import Final

from services.query.http.describe import choice, operation
from services.query.http.routes import ApiRoute, RouteGroup
from services.query.sql.resource import FORMAT_NAMES, Sql, SqlColumn, SqlRequest, SqlResponse
from services.query.tables.media import table_response

SQL_ROUTES: Final = RouteGroup(
    (
        ApiRoute(
            "POST",
            "/sql",
            Sql.answer,
            operation(
                "querySql",
                "Run a SELECT over the project's `events`, `persons`, `segments` and `predictions`",
                {
                    "200": table_response(SqlResponse),
                },
                413,
                parameters=(
                    choice(
                        "format",
                        FORMAT_NAMES,
                        "By default as `Accept` says. `json`: columns and rows, in a bounded "
                        "number. The others are streamed to their end. `csv`: with a heading. "
                        "`ndjson`: an object a row. `parquet`, `arrow`: with typed columns.",
                    ),
                ),
                body="SqlRequest",
            ),
            "QuerySql",
            scope="read",
        ),
    ),
    (SqlRequest, SqlResponse, SqlColumn),
)
