"""Credentials (write keys, query tokens, sessions, links) and the limits and settings of projects.

They are records of the definitions topic. A write key sends events, a query token reads figures and
changes definitions; neither is accepted instead of the other, and their prefixes differ.

A write key is public: web pages and apps contain it, and it can only add events to its project. It
is therefore stored as it is, and is its own id.

A query token is secret: only its SHA-256 is stored, and it cannot be shown again. Slow hashes
(bcrypt, Argon2) are for passwords, which can be guessed; a token is 256 random bits, so a fast hash
is as safe and takes a microsecond for each request.
"""

import hashlib
import secrets
from typing import Annotated, ClassVar, Final, Literal

import msgspec
from msgspec import Meta

from schemas.choices import accepted_at
from schemas.definitions import Id, Kind, Text, decode_with, definition_key, is_id
from schemas.errors import InvalidRequest
from schemas.time.calendar import WeekStart

WRITE_KEY_PREFIX: Final = "awk_"
TOKEN_PREFIX: Final = "aqt_"  # noqa: S105  # of tokens, not one
LINK_PREFIX: Final = "adl_"
MIN_KEY_CHARS: Final = 8
MAX_WRITE_KEYS_PER_PROJECT: Final = 100
MAX_TOKENS_PER_PROJECT: Final = 100
MAX_TOKEN_DAYS: Final = 366
MAX_LINKS_PER_PROJECT: Final = 200
MAX_LINK_DAYS: Final = 366
MAX_GRANTS: Final = 100
# All projects; no project can have this id.
ALL_PROJECTS: Final = "*"

_TOKEN_BYTES: Final = 32
_ID_CHARS: Final = 16

Scope = Literal["read", "write"]
PerSecond = Annotated[int, Meta(ge=1, le=1_000_000_000)]
PerDay = Annotated[int, Meta(ge=1, le=1_000_000_000_000)]
Origin = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9+.-]*://[^\s/?#@A-Z]+$(?!\n)", max_length=255)]
# Characters of a header's value that end a source or a directive of a policy are not accepted.
FrameOrigin = Annotated[
    str, Meta(pattern=r"^https?://[a-z0-9.-]+(:[0-9]{1,5})?$(?!\n)", max_length=255)
]
TimeZone = Annotated[str, Meta(min_length=1, max_length=64)]
ProjectOrAll = Annotated[str, Meta(pattern=r"^(\*|[A-Za-z0-9][A-Za-z0-9._-]{0,63})$(?!\n)")]


class WriteKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key that sends events to one project. `id` is the key itself.

    None means no limit. `origins` are the web pages (`https://shop.example`) that may use the key,
    all if it is empty; browsers report theirs truthfully, other programs need not.
    """

    kind: ClassVar[Kind] = "write-key"

    project_id: Id
    id: Id
    created_at: int
    name: Text = ""
    events_per_s: PerSecond | None = None
    events_per_day: PerDay | None = None
    origins: Annotated[tuple[Origin, ...], Meta(max_length=50)] = ()


class QueryToken(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The record of a query token: `digest` is its SHA-256 in hex, and `id` the beginning of that.

    Until `expires_at` the token allows what `scopes` say, in `project_id` or, if that is `*`, in
    all projects. `read` reads definitions and figures, `write` changes definitions.
    """

    kind: ClassVar[Kind] = "query-token"

    project_id: ProjectOrAll
    id: Id
    digest: str
    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1)]
    created_at: int
    expires_at: int
    name: Text = ""


class Project(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The limits of a project, for all its keys together, and its settings.

    A project without this record has no limits, and the defaults below. Funnels, cohorts and
    metrics that are created without a time zone get `timezone`, and those that have weeks get
    `week_start` in the same way.
    """

    kind: ClassVar[Kind] = "project"

    id: Id
    updated_at: int
    events_per_s: PerSecond | None = None
    events_per_day: PerDay | None = None
    timezone: TimeZone = "UTC"
    week_start: WeekStart = "monday"

    @property
    def project_id(self) -> str:
        """The project itself."""
        return self.id


class Grant(msgspec.Struct, frozen=True):
    """What somebody may do in a project, or in all projects if `project_id` is `*`."""

    project_id: ProjectOrAll
    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1)]


class Session(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The record of a session of the page.

    Its secret is in a cookie: `digest` is that secret's SHA-256 in hex, and `id` the beginning of
    that. `client` is the name that the browser gives itself.

    Somebody began it by showing a query token, or at an identity provider. In the first case
    `token` is that token's id, and until `expires_at` the session allows what the token allows, as
    long as the token does. In the second, `token` stands for the account, which `user` names, and
    the session allows what `grants` say. No query token has such an id, so that a version which
    does not know `grants` takes the session for ended.
    """

    kind: ClassVar[Kind] = "session"

    project_id: ProjectOrAll
    id: Id
    digest: str
    token: Id
    created_at: int
    expires_at: int
    client: Text = ""
    user: Text = ""
    grants: Annotated[tuple[Grant, ...], Meta(max_length=MAX_GRANTS)] = ()


class DashboardLink(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The record of a link that shows one dashboard to whoever has it, without signing in.

    `digest` is the SHA-256 of its secret in hex, and `id` the beginning of that. Until `expires_at`
    it shows the figures of the tiles of `dashboard` and nothing else. `embed` are the web pages
    (`https://shop.example`) that may show it in a frame; none may if it is empty.
    """

    kind: ClassVar[Kind] = "dashboard-link"

    project_id: Id
    id: Id
    digest: str
    dashboard: Id
    created_at: int
    expires_at: int
    name: Text = ""
    embed: Annotated[tuple[FrameOrigin, ...], Meta(max_length=20)] = ()


Definition = WriteKey | QueryToken | Project | Session | DashboardLink


def mint_write_key() -> str:
    """Return a new write key."""
    return WRITE_KEY_PREFIX + secrets.token_hex(16)


def mint_token() -> str:
    """Return a new query token, which is not stored."""
    return TOKEN_PREFIX + secrets.token_hex(_TOKEN_BYTES)


def mint_session() -> str:
    """Return the secret of a new session, which is not stored."""
    return secrets.token_hex(_TOKEN_BYTES)


def mint_link() -> str:
    """Return the secret of a new link to a dashboard, which is not stored."""
    return LINK_PREFIX + secrets.token_hex(_TOKEN_BYTES)


def digest_of(token: str) -> str:
    """Return what is stored of a token: its SHA-256 in hex."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def token_id(digest: str) -> str:
    """Return the id of the token with this digest, which reveals nothing about the token."""
    return digest[:_ID_CHARS]


def check_write_key(text: str) -> None:
    """Check a text that is to become a write key, such as a key of another product.

    Raises:
        InvalidRequest: it cannot be a key, or looks like a secret.
    """
    if secret := secret_kind(text):
        raise InvalidRequest(f"must be public, and this is {secret}", "key")
    if not is_id(text) or len(text) < MIN_KEY_CHARS:
        raise InvalidRequest(f"must be {MIN_KEY_CHARS} to 64 letters, digits and `._-`", "key")


def secret_kind(text: str) -> str:
    """Return what secret `text` looks like; empty if it looks like none."""
    return _SECRETS.get(text[:4], "")


_SECRETS: Final = {
    TOKEN_PREFIX: "a query token, which is secret",
    LINK_PREFIX: "the secret of a link to a dashboard",
    "phx_": "a personal API key of PostHog's, which is secret",
    "phs_": "a secure API key of PostHog's, which is secret",
}


def record_key(definition: Definition) -> bytes:
    """Return the record key on the definitions topic."""
    return definition_key(definition.project_id, definition.kind, definition.id)


def encode(definition: Definition) -> bytes:
    """Encode a record of the definitions topic.

    Raises:
        InvalidRequest: it could not be decoded again; names the field.
    """
    value = msgspec.json.encode(definition)
    try:
        decode(definition.kind, value)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        path = path.rstrip("`").lstrip(".")
        if message.startswith("Invalid enum value"):
            message = f"{message}; accepted are {accepted_at(type(definition), path)}"
        raise InvalidRequest(message, path) from None
    return value


def decode(kind: str, value: bytes) -> Definition | None:
    """Decode a record of the definitions topic; None if it is of another kind.

    Raises:
        msgspec.DecodeError: it is not a definition of this kind.
    """
    decoder = _DECODERS.get(kind)
    return decode_with(decoder, value) if decoder else None


_DECODERS: Final[dict[str, msgspec.json.Decoder[Definition]]] = {
    struct.kind: msgspec.json.Decoder(struct)
    for struct in (WriteKey, QueryToken, Project, Session, DashboardLink)
}
