"""The credentials and project limits on the definitions topic, as a view."""

import hmac
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import structlog
from confluent_kafka import Message

from schemas.definitions import parse_key
from schemas.keys import (
    DashboardLink,
    Definition,
    Project,
    QueryToken,
    Session,
    WriteKey,
    decode,
    digest_of,
    record_key,
    token_id,
)

log = structlog.get_logger(__name__)

_KINDS = {WriteKey.kind, QueryToken.kind, Project.kind, Session.kind, DashboardLink.kind}


class Change(NamedTuple):
    """The new value of a key of the topic; None if it was deleted."""

    project_id: str
    kind: str
    id: str
    definition: Definition | None


class Keys:
    """The current credentials, and the settings of projects. Use it from one thread.

    Attributes:
        write_keys: by the key's text. A lookup compares texts only if their hashes are equal, and
            the hash is keyed with a secret of the process (SipHash), so the time of a lookup does
            not reveal how much of a guess is right.
        tokens: by id.
        projects: those with limits or settings, by id.
        sessions: of the page, by id.
        links: to dashboards, by id.
    """

    def __init__(self) -> None:
        self.write_keys: dict[str, WriteKey] = {}
        self.tokens: dict[str, QueryToken] = {}
        self.projects: dict[str, Project] = {}
        self.sessions: dict[str, Session] = {}
        self.links: dict[str, DashboardLink] = {}

    def apply(self, changes: Sequence[Change]) -> None:
        """Apply changes in the order of the topic; applying them again changes nothing."""
        for project_id, kind, name, definition in changes:
            match definition:
                case WriteKey():
                    self.write_keys[name] = definition
                case QueryToken():
                    self.tokens[name] = definition
                case Project():
                    self.projects[name] = definition
                case Session():
                    self.sessions[name] = definition
                case DashboardLink():
                    self.links[name] = definition
                case None:
                    self._remove(project_id, kind, name)

    def _remove(self, project_id: str, kind: str, name: str) -> None:
        held: Mapping[str, dict[str, Any]] = {
            WriteKey.kind: self.write_keys,
            QueryToken.kind: self.tokens,
            Project.kind: self.projects,
            Session.kind: self.sessions,
            DashboardLink.kind: self.links,
        }
        before: Definition | None = held[kind].get(name)
        if before is not None and before.project_id == project_id:
            del held[kind][name]

    def find_token(self, text: str) -> QueryToken | None:
        """Return the query token with this text, even if it has expired; None if there is none.

        Looks it up by the beginning of its digest and compares the whole digest in constant time,
        so the time of a call reveals nothing about any token.
        """
        digest = digest_of(text)
        found = self.tokens.get(token_id(digest))
        if found is None or not hmac.compare_digest(found.digest, digest):
            return None
        return found

    def find_session(self, secret: str) -> Session | None:
        """Return the session with this secret, even if it has expired; None if there is none.

        Compares as `find_token` does.
        """
        digest = digest_of(secret)
        found = self.sessions.get(token_id(digest))
        if found is None or not hmac.compare_digest(found.digest, digest):
            return None
        return found

    def find_link(self, secret: str) -> DashboardLink | None:
        """Return the link with this secret, even if it has expired; None if there is none.

        Compares as `find_token` does.
        """
        digest = digest_of(secret)
        found = self.links.get(token_id(digest))
        if found is None or not hmac.compare_digest(found.digest, digest):
            return None
        return found


def read_keys(messages: list[Message]) -> list[Change]:
    """Return the changes of credentials and projects among records of the definitions topic.

    Logs a line for each record that cannot be read, and skips it.
    """
    changes = []
    for message in messages:
        key, value = message.key(), message.value()
        try:
            project_id, kind, name = parse_key(key or b"")
            if kind not in _KINDS:
                continue
            definition = None if value is None else decode(kind, value)
            if definition is not None and record_key(definition) != key:
                raise ValueError("its key and its value name different definitions")
        except (ValueError, msgspec.DecodeError) as error:
            log.error("key_skipped", key=key, offset=message.offset(), reason=str(error))
            continue
        changes.append(Change(project_id, kind, name, definition))
    return changes
