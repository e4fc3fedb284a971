"""Change credentials and the limits of projects, decided on all earlier changes."""

import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from msgspec.structs import replace

from schemas.definitions import is_id
from schemas.errors import Conflict, InvalidRequest, NotFound
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
from schemas.time.calendar import WeekStart, find_zone
from services.commands import Commands, Write
from services.keys.view import Keys

D = TypeVar("D", bound=Definition)
Revocable = TypeVar("Revocable", WriteKey, QueryToken)

_DAY_MS: Final = 86_400_000


class KeyCommands:
    """Creates and revokes keys and tokens, and sets limits.

    Each method returns once its change is committed; all processes see it within a second. Each
    raises `Unavailable` if Kafka does not answer: the change may or may not have been made.

    Attributes:
        keys: all current credentials and projects, as the view of `commands` reads them.
    """

    def __init__(self, keys: Keys, commands: Commands) -> None:
        self.keys = keys
        self._commands = commands

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
        """Create a write key; `key` is one that producers already use, from another system.

        Raises:
            InvalidRequest: a value is not accepted; names the field.
            Conflict: the project has the maximum number of keys, or the key exists.
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
        """Create a query token for a project, or for all (`*`); return its text, which is not kept.

        Raises:
            InvalidRequest: a value is not accepted; names the field.
            Conflict: the project has the maximum number of tokens.
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
        """Revoke a write key; raises `NotFound` if it does not exist."""
        return await self._revoke(lambda: self.keys.write_keys.get(key), f"no write key {key}")

    async def revoke_token(self, name: str) -> QueryToken:
        """Revoke a query token by its id or its text; raises `NotFound` if it does not exist."""
        if name.startswith(TOKEN_PREFIX):
            name = token_id(digest_of(name))
        return await self._revoke(lambda: self.keys.tokens.get(name), f"no query token {name}")

    async def limit_project(
        self, project_id: str, events_per_s: int | None, events_per_day: int | None
    ) -> Project:
        """Limit what all keys of a project may send together; None removes a limit.

        Raises:
            InvalidRequest: a value is not accepted; names the field.
        """
        return await self._change_project(
            project_id, events_per_s=events_per_s, events_per_day=events_per_day
        )

    async def set_timezone(self, project_id: str, timezone: str) -> Project:
        """Set the time zone for funnels, cohorts and metrics that are created without one.

        Raises:
            InvalidRequest: the zone does not exist.
        """
        find_zone(timezone)
        return await self._change_project(project_id, timezone=timezone)

    async def set_week_start(self, project_id: str, week_start: WeekStart) -> Project:
        """Set the first day of the week for funnels and cohorts that are created without one.

        Raises:
            InvalidRequest: it is not accepted; says what is.
        """
        return await self._change_project(project_id, week_start=week_start)

    async def _change_project(self, project_id: str, **fields: str | int | None) -> Project:
        def changed() -> Project:
            before = self.keys.projects.get(project_id) or Project(id=project_id, updated_at=0)
            return replace(before, updated_at=max(_now_ms(), before.updated_at), **fields)

        _write(changed())  # raises `InvalidRequest` before waiting for Kafka
        return await self._commands.change(lambda: _write(changed()))

    async def _revoke(self, find: Callable[[], Revocable | None], missing: str) -> Revocable:
        def decide() -> Write[Revocable]:
            found = find()
            if found is None:
                raise NotFound(f"there is {missing}")
            return Write(record_key(found), None, {}, found)

        return await self._commands.change(decide)


def _write(definition: D) -> Write[D]:
    project_id = definition.project_id
    if not is_id(project_id) and (
        project_id != ALL_PROJECTS or not isinstance(definition, QueryToken)
    ):
        raise InvalidRequest("accepted are 1 to 64 letters, digits and `._-`", "project")
    return Write(record_key(definition), encode(definition), {}, definition)


def _check_count(project_id: str, count: int, limit: int, what: str) -> None:
    if count >= limit:
        scope = "for all projects" if project_id == ALL_PROJECTS else f"of project {project_id}"
        raise Conflict(f"there are {limit} {what} {scope}, which is the maximum: revoke one first")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
