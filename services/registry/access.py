"""Who may change the registry, and what nobody may change over HTTP.

Reading is free: schemas are in every client. To change something takes a query token with the scope
`write` for all projects, as the password of `basic.auth.user.info` or after `Bearer`. To register a
schema that is registered already changes nothing, so producers need no token.

The subjects of a deployment's own topics keep their versions and their level: without them the
events could not be read. Only the inbox, which others write to, takes further schemas.
"""

import base64
import binascii
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from starlette.requests import Request

from schemas.errors import AvilaError
from schemas.keys import ALL_PROJECTS
from schemas.registry.subjects import Record, Subjects, value_subject
from schemas.topics import Topics
from services.keys.tokens import authorize
from services.keys.view import Keys
from services.registry import errors
from services.registry.errors import Refused

T = TypeVar("T")

Decide = Callable[[Subjects], tuple[T, list[Record]]]


class Access(Protocol):
    """Decides whether a request may change the registry."""

    own: frozenset[str]
    open: frozenset[str]  # those of `own` that take further versions

    def check(self, request: Request) -> None:
        """Return if the request has credentials to write.

        Raises:
            Unauthorized, Forbidden: it has none that allow it.
            BackOff, Unavailable: the credentials are not known yet.
        """


class TokenAccess:
    """Access by the query tokens in `keys`; `require` raises while they are not known."""

    def __init__(self, keys: Keys, require: Callable[[], None], topics: Topics) -> None:
        self._keys = keys
        self._require = require
        self.own = own_subjects(topics)
        self.open = frozenset({value_subject(topics.inbox.name)})

    def check(self, request: Request) -> None:
        """Return if the request has a token for all projects with the scope `write`."""
        self._require()
        header = _as_bearer(request.headers.get("authorization", ""))
        authorize(self._keys, header, "write", ALL_PROJECTS, time.time_ns() // 1_000_000)


def own_subjects(topics: Topics) -> frozenset[str]:
    """Return the subjects of a deployment that only the deployment changes."""
    return frozenset(value_subject(topic.name) for topic in topics)


def refuse_own(access: Access, subject: str | None) -> None:
    """Return unless the subject is one of the deployment's own.

    Raises:
        Refused: it is.
    """
    if subject in access.own:
        raise Refused(
            errors.NOT_PERMITTED,
            f"Subject '{subject}' belongs to a topic of Avila, which alone changes it: its records "
            "could not be read otherwise",
        )


def checked(access: Access, request: Request, decide: Decide[T]) -> Decide[T]:
    """Return `decide`, which raises if it would change something without the credentials to."""
    refusal: AvilaError | None = None
    try:
        access.check(request)
    except AvilaError as error:
        refusal = error

    def decide_if_allowed(subjects: Subjects) -> tuple[T, list[Record]]:
        result, records = decide(subjects)
        if records and refusal is not None:
            raise refusal
        return result, records

    return decide_if_allowed


def _as_bearer(authorization: str) -> str:
    """Return the header with the password of HTTP's basic authentication as a token."""
    scheme, _, text = authorization.strip().partition(" ")
    if scheme.lower() != "basic":
        return authorization
    try:
        _, _, password = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return f"Bearer {password}"
