"""The route of SQL, and its description."""

from typing import Final

from services.query.http.describe import choice, json_response, operation
from services.query.http.routes import ApiRoute, RouteGroup
from services.query.sql.resource import FORMATS, Sql, SqlColumn, SqlRequest, SqlResponse

SQL_ROUTES: Final = RouteGroup(
    (
        ApiRoute(
            "POST",
            "/sql",
            Sql.answer,
            operation(
                "querySql",
                "Run a SELECT over the views of the project: `events`, `persons`, `predictions`",
                {
                    "200": json_response(SqlResponse)
                    | {
                        "content": {
                            **json_response(SqlResponse)["content"],
                            "text/csv": {"schema": {"type": "string"}},
                            "application/x-ndjson": {"schema": {"type": "string"}},
                        }
                    }
                },
                413,
                parameters=(
                    choice(
                        "format",
                        FORMATS,
                        "`json`: columns and rows. `csv`: with a heading. `ndjson`: an object a "
                        "row.",
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
