"""Makes and revokes credentials, and sets limits: what `avila keys`, `tokens` and `projects` do."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from msgspec.structs import replace

from schemas.definitions import is_id
from schemas.errors import Conflict, InvalidRequest, NotFound, Unavailable
from schemas.keys import (
    ALL_PROJECTS,
    MAX_TOKEN_DAYS,
    MAX_TOKENS_PER_PROJECT,
    MAX_WRITE_KEYS_PER_PROJECT,
    TOKEN_PREFIX,
    Definition,
    Project,
    QueryToken,
    Scope,
    WriteKey,
    check_write_key,
    digest_of,
    encode,
    mint_token,
    mint_write_key,
    record_key,
    token_id,
)
from schemas.settings import Settings
from schemas.time.calendar import find_zone
from services.commands import Commands, Write
from services.keys.view import Keys, read_keys
from services.topic_view import TopicView

T = TypeVar("T")
Made = TypeVar("Made", bound=Definition)
Revocable = TypeVar("Revocable", WriteKey, QueryToken)

_CAUGHT_UP_TIMEOUT_S: Final = 15.0
_DAY_MS: Final = 86_400_000


class KeyAdmin:
    """Open inside an `async with` block, on whose entry `keys` holds all there is.

    Each method returns when what it did is committed; then every process knows it within a second.
    They raise `Unavailable` if Kafka does not answer: what was asked for may or may not stand.
    """

    def __init__(self, settings: Settings) -> None:
        self.keys = Keys()
        self._settings = settings
        self._following = TopicView(
            "definitions",
            settings.bootstrap,
            [settings.topics.definitions.name],
            read_keys,
            self.keys.apply,
        )
        self._commands = Commands(settings, self._following)

    async def __aenter__(self) -> Self:
        self._following.start()
        try:
            async with asyncio.timeout(_CAUGHT_UP_TIMEOUT_S):
                await self._following.catch_up()
        except BaseException as error:
            await self._following.stop()
            if isinstance(error, TimeoutError):
                raise Unavailable(
                    f"Kafka at {self._settings.bootstrap} does not answer: check "
                    "AVILA_KAFKA_BOOTSTRAP and that the broker runs"
                ) from error
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._following.stop()

    async def create_write_key(
        self,
        project_id: str,
        *,
        name: str = "",
        events_per_s: int | None = None,
        events_per_day: int | None = None,
        origins: Sequence[str] = (),
        key: str | None = None,
    ) -> WriteKey:
        """Make a write key; `key` is one that producers have already, from elsewhere.

        Raises:
            InvalidRequest: names what is not accepted.
            Conflict: the project has as many as it may have, or the key exists.
        """
        if key is not None:
            check_write_key(key)
        made = WriteKey(
            project_id=project_id,
            id=key or mint_write_key(),
            created_at=_now_ms(),
            name=name,
            events_per_s=events_per_s,
            events_per_day=events_per_day,
            origins=tuple(origin.lower().rstrip("/") for origin in origins),
        )
        write = _write(made)

        def decide() -> Write[WriteKey]:
            held = self.keys.write_keys
            if made.id in held:
                raise Conflict(f"{made.id} is a write key of project {held[made.id].project_id}")
            count = sum(other.project_id == project_id for other in held.values())
            _check_count(project_id, count, MAX_WRITE_KEYS_PER_PROJECT, "write keys")
            return write

        return await self._commands.change(decide)

    async def create_token(
        self, project_id: str, scopes: Sequence[Scope], *, days: int, name: str = ""
    ) -> tuple[str, QueryToken]:
        """Make a query token for a project, or for all (`*`), and return it: it is not kept.

        Raises:
            InvalidRequest: names what is not accepted.
            Conflict: the project has as many as it may have.
        """
        if not 1 <= days <= MAX_TOKEN_DAYS:
            raise InvalidRequest(f"accepted are 1 to {MAX_TOKEN_DAYS}", "days")
        text, now = mint_token(), _now_ms()
        digest = digest_of(text)
        made = QueryToken(
            project_id=project_id,
            id=token_id(digest),
            digest=digest,
            scopes=tuple(sorted(set(scopes))),
            created_at=now,
            expires_at=now + days * _DAY_MS,
            name=name,
        )
        write = _write(made)

        def decide() -> Write[QueryToken]:
            count = sum(other.project_id == project_id for other in self.keys.tokens.values())
            _check_count(project_id, count, MAX_TOKENS_PER_PROJECT, "query tokens")
            return write

        return text, await self._commands.change(decide)

    async def revoke_write_key(self, key: str) -> WriteKey:
        """End a write key; raises `NotFound` if there is none."""
        return await self._revoke(lambda: self.keys.write_keys.get(key), f"no write key {key}")

    async def revoke_token(self, name: str) -> QueryToken:
        """End a query token, named by its id or itself; raises `NotFound` if there is none."""
        if name.startswith(TOKEN_PREFIX):
            name = token_id(digest_of(name))
        return await self._revoke(lambda: self.keys.tokens.get(name), f"no query token {name}")

    async def limit_project(
        self, project_id: str, events_per_s: int | None, events_per_day: int | None
    ) -> Project:
        """Set what all keys of a project may send together; None takes a limit away.

        Raises:
            InvalidRequest: names what is not accepted.
        """
        return await self._change_project(
            project_id, events_per_s=events_per_s, events_per_day=events_per_day
        )

    async def set_timezone(self, project_id: str, timezone: str) -> Project:
        """Set the time zone of a project's cohorts and metrics that name none when they are made.

        Raises:
            InvalidRequest: names what is not accepted.
        """
        find_zone(timezone)
        return await self._change_project(project_id, timezone=timezone)

    async def _change_project(self, project_id: str, **fields: Any) -> Project:
        def made() -> Project:
            before = self.keys.projects.get(project_id) or Project(id=project_id, updated_at=0)
            return replace(before, updated_at=max(_now_ms(), before.updated_at), **fields)

        _write(made())  # refused before anything is waited for
        return await self._commands.change(lambda: _write(made()))

    async def _revoke(self, find: Callable[[], Revocable | None], otherwise: str) -> Revocable:
        def decide() -> Write[Revocable]:
            found = find()
            if found is None:
                raise NotFound(f"there is {otherwise}")
            return Write(record_key(found), None, {}, found)

        return await self._commands.change(decide)


def at_desk(settings: Settings, work: Callable[[KeyAdmin], Awaitable[T]]) -> T:
    """Do `work` at a desk of one's own, and wait for it; not for a thread with a running loop."""

    async def run() -> T:
        async with KeyAdmin(settings) as desk:
            return await work(desk)

    return asyncio.run(run())


def _write(definition: Made) -> Write[Made]:
    project_id = definition.project_id
    if not is_id(project_id) and (
        project_id != ALL_PROJECTS or not isinstance(definition, QueryToken)
    ):
        raise InvalidRequest("accepted are 1 to 64 letters, digits and `._-`", "project")
    return Write(record_key(definition), encode(definition), {}, definition)


def _check_count(project_id: str, count: int, most: int, what: str) -> None:
    if count >= most:
        whose = "for all projects" if project_id == ALL_PROJECTS else f"of project {project_id}"
        raise Conflict(
            f"there are {most} {what} {whose}, which is the most there may be: revoke one first"
        )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
