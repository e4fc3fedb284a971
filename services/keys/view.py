"""The view of the definitions topic that knows credentials."""

import hmac
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import structlog
from confluent_kafka import Message

from schemas.definitions import parse_key
from schemas.keys import (
    Definition,
    Project,
    QueryToken,
    WriteKey,
    decode,
    digest_of,
    record_key,
    token_id,
)

log = structlog.get_logger(__name__)

_KINDS = {WriteKey.kind, QueryToken.kind, Project.kind}


class Change(NamedTuple):
    """What is under a key of the topic now; None if nothing is any more."""

    project_id: str
    kind: str
    id: str
    definition: Definition | None


class Keys:
    """The credentials that stand, and the limits of projects; for one thread.

    Attributes:
        write_keys: by the key's text. What is asked for is compared when it has the hash of a key
            that exists, and that is a keyed hash (SipHash, with a key of the process's own): so how
            long it takes tells nothing of how much of it was right.
        tokens: by id.
        projects: those with limits.
    """

    def __init__(self) -> None:
        self.write_keys: dict[str, WriteKey] = {}
        self.tokens: dict[str, QueryToken] = {}
        self.projects: dict[str, Project] = {}

    def apply(self, changes: Sequence[Change]) -> None:
        """Take in changes in the order of the topic; applying some again changes nothing."""
        for project_id, kind, name, definition in changes:
            match definition:
                case WriteKey():
                    self.write_keys[name] = definition
                case QueryToken():
                    self.tokens[name] = definition
                case Project():
                    self.projects[name] = definition
                case None:
                    self._forget(project_id, kind, name)

    def _forget(self, project_id: str, kind: str, name: str) -> None:
        held: dict[str, WriteKey] | dict[str, QueryToken] | dict[str, Project]
        held = self.write_keys if kind == WriteKey.kind else self.tokens
        held = self.projects if kind == Project.kind else held
        before = held.get(name)
        if before is not None and before.project_id == project_id:
            del held[name]

    def find_token(self, text: str) -> QueryToken | None:
        """Return what is known of a query token, also of one that has expired.

        It is looked up by the beginning of its digest and compared by the whole, in constant time:
        how long that takes tells nothing of any token.
        """
        digest = digest_of(text)
        found = self.tokens.get(token_id(digest))
        if found is None or not hmac.compare_digest(found.digest, digest):
            return None
        return found


def read_keys(messages: list[Message]) -> list[Change]:
    """Decode records of the definitions topic; those of other kinds and unreadable ones are not in.

    Pure but for a line in the log for each that cannot be read.
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
                raise ValueError("it is another's")
        except (ValueError, msgspec.DecodeError) as error:
            log.error("key left out", key=key, offset=message.offset(), reason=str(error))
            continue
        changes.append(Change(project_id, kind, name, definition))
    return changes
