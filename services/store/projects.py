"""The users of projects: read-only, over views of their own project.

A user's name is that of the project, and the password a query token with the scope `read`. A
password that has the form of a token is never that of the store's own user.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from schemas.definitions import is_id
from schemas.errors import AvilaError, Unavailable
from schemas.keys import TOKEN_PREFIX
from schemas.settings import Settings
from services.keys.tokens import authorize
from services.keys.view import Keys, read_keys
from services.sql import Catalog, Refused, check
from services.sql.limits import LOWERABLE, statement_settings
from services.sql.system import SYSTEM, system_views
from services.sql.views import DATABASE, PROJECT_PARAMETER, view_queries
from services.store.errors import Code, StoreError
from services.store.formats import find_format
from services.store.jobs import Job
from services.store.project_commands import as_query, described_query
from services.store.requests import Call
from services.store.statements import Query, read_statement, read_tokens
from services.topic_view import TopicView
from services.turns import Turns

_CATCH_UP_TIMEOUT_S: Final = 15.0
_MAX_RUNNING: Final = 3
_MAX_WAITING_PER_PROJECT: Final = 32
# Of the settings that change nothing but how a result looks.
_OUTPUT_PREFIX: Final = "output_format_"
_HARMLESS: Final = {
    *("date_time_output_format", "format_csv_delimiter", "extremes", "join_use_nulls"),
    *("enable_http_compression", "http_zlib_compression_level", "wait_end_of_query"),
    *("send_progress_in_http_headers", "http_headers_progress_interval_ms", "session_timezone"),
    *("cancel_http_readonly_queries_on_client_close", "group_by_use_nulls", "transform_null_in"),
    *("bool_true_representation", "bool_false_representation", "cast_keep_nullable"),
}
# What clients send, and what holds here in any case.
_IGNORED: Final = {"readonly", "log_comment", "use_uncompressed_cache", "load_balancing"}


class ProjectUsers:
    """Lets users of projects in, and restricts what they run. Use it on one event loop.

    The tokens are read from Kafka, from the first login of such a user on.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = settings.clickhouse_database
        self._keys = Keys()
        self._view: TopicView[Any] | None = None
        self._opening = asyncio.Lock()
        self.turns = Turns(_MAX_RUNNING, _MAX_WAITING_PER_PROJECT)

    @staticmethod
    def is_token(password: str) -> bool:
        """Return whether a password is one of a project's user."""
        return password.startswith(TOKEN_PREFIX)

    async def log_in(self, user: str, password: str) -> str:
        """Return the project of a user.

        Raises:
            StoreError: the token is not one for reading this project, or tokens cannot be read now.
        """
        await self._catch_up()
        try:
            if not is_id(user):
                raise StoreError(
                    Code.AUTHENTICATION_FAILED, "The user is the id of a project, with its token"
                )
            now_ms = time.time_ns() // 1_000_000
            authorize(self._keys, f"Bearer {password}", "read", user, now_ms)
        except AvilaError as error:
            raise StoreError(Code.AUTHENTICATION_FAILED, f"{user}: {error}") from error
        return user

    async def close(self) -> None:
        """Stop reading tokens."""
        if self._view is not None:
            await self._view.stop()

    async def restricted(self, call: Call, project: str) -> Call:
        """Return the call that runs, over the project's views, what a user's call asks for.

        Raises:
            StoreError: it asks for something else than reading them.
        """
        job = await asyncio.to_thread(self._restricted, call.job, project)
        return replace(call, job=job)

    def _restricted(self, job: Job, project: str) -> Job:
        if not isinstance(job.statement, Query) or job.tables:
            raise StoreError(Code.ACCESS_DENIED, "Users of projects only read: send a SELECT")
        if job.database not in {"", "default", DATABASE, SYSTEM}:
            raise StoreError(
                Code.UNKNOWN_DATABASE, f"Database {job.database} does not exist; it is {DATABASE}"
            )
        text, parameters = self._checked(job, project)
        named = job.statement.format.decode(errors="replace")
        return Job(
            statement=read_statement(text.encode()),
            # Ids of different projects must not collide.
            query_id=f"{project}/{job.query_id}",
            format=find_format(named or job.format),
            settings=_settings(job.settings)
            | {
                name: str(value)
                for name, value in statement_settings(self._database, project).items()
                if name not in LOWERABLE
            },
            parameters=parameters,
        )

    def _checked(self, job: Job, project: str) -> tuple[str, dict[str, str]]:
        assert isinstance(job.statement, Query)
        views = {DATABASE: view_queries(self._database), SYSTEM: system_views()}
        database = SYSTEM if job.database == SYSTEM else DATABASE
        catalog = Catalog(database, views, project)
        try:
            text = _without_format(job.statement)
            described = described_query(text)
            checked = check(as_query(text) if described is None else described, catalog)
        except UnicodeDecodeError:
            raise StoreError(Code.SYNTAX_ERROR, "The query is not UTF-8") from None
        except Refused as error:
            raise StoreError(Code.ACCESS_DENIED, str(error), 403) from error
        if checked.format:
            raise StoreError(Code.SYNTAX_ERROR, "The name of a format has no quotes")
        if missing := [name for name in checked.parameters if name not in job.parameters]:
            raise StoreError(
                Code.UNKNOWN_QUERY_PARAMETER, f"Substitution `{missing[0]}` is not set"
            )
        parameters = {name: job.parameters[name] for name in checked.parameters}
        if f"{{{PROJECT_PARAMETER}:" in checked.text:
            parameters[PROJECT_PARAMETER] = project
        printed = checked.text if described is None else f"DESCRIBE TABLE ({checked.text})"
        return printed, parameters

    async def _catch_up(self) -> None:
        view = await self._open()
        try:
            async with asyncio.timeout(_CATCH_UP_TIMEOUT_S):
                await view.catch_up()
        except (TimeoutError, Unavailable) as error:
            raise StoreError(
                Code.SOCKET_TIMEOUT,
                f"The tokens of projects cannot be read: Kafka at {self._settings.bootstrap} does "
                "not answer",
            ) from error

    async def _open(self) -> TopicView[Any]:
        """Return the view of the tokens; a new one if there is none, or the last one has failed."""
        async with self._opening:
            if self._view is not None and not self._view.failure:
                return self._view
            if self._view is not None:
                await self._view.stop()
            keys = self._keys = Keys()
            topic = self._settings.topics.definitions.name
            self._view = TopicView("keys", self._settings.cluster, [topic], read_keys, keys.apply)
            self._view.start()
            return self._view


def _without_format(statement: Query) -> str:
    """Return the text of a statement before its FORMAT, which must be its end."""
    clause = list(read_tokens(statement.text[statement.output_at :]))
    if [one.word for one in clause[:1]] not in ([], [b"FORMAT"]) or len(clause) not in {0, 2}:
        raise StoreError(Code.READONLY, "SETTINGS and INTO OUTFILE are not allowed", 403)
    return statement.text[: statement.output_at].decode()


def _settings(given: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of a statement: limits that are lowered at most, and how results look.

    Raises:
        StoreError: another setting is given.
    """
    limits = {name: str(most) for name, most in LOWERABLE.items()}
    for name, value in given.items():
        if name in LOWERABLE:
            if value.isascii() and value.isdigit() and 0 < int(value) < LOWERABLE[name]:
                limits[name] = value
        elif name.startswith(_OUTPUT_PREFIX) or name in _HARMLESS:
            limits[name] = value
        elif name not in _IGNORED:
            raise StoreError(
                Code.READONLY, f"Cannot modify '{name[:100]}' setting in readonly mode", 403
            )
    return limits
