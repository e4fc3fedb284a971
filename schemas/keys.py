"""Credentials: write keys send events, query tokens read figures; and what a project may send.

They are definitions, beside the funnels on the same topic. Neither is accepted in place of the
other, so their first letters tell them apart.

A write key is public: it stands in web pages and in apps, and can do nothing but add events to its
project. So it is kept as it is, and is its own id.

A query token is secret, so only its SHA-256 is kept, and nobody can be shown it again. Slow hashes
(bcrypt, Argon2) make it dear to guess what people choose; a token is 256 random bits, which no
number of guesses finds, so a fast hash is as safe and costs a request a microsecond.
"""

import hashlib
import secrets
from typing import Annotated, ClassVar, Final, Literal

import msgspec
from msgspec import Meta

from schemas.definitions import Id, Kind, Text, decode_with, definition_key, is_id
from schemas.errors import InvalidRequest

WRITE_KEY_PREFIX: Final = "awk_"
TOKEN_PREFIX: Final = "aqt_"  # noqa: S105  # of tokens, not one
MIN_KEY_CHARS: Final = 8
MAX_WRITE_KEYS_PER_PROJECT: Final = 100
MAX_TOKENS_PER_PROJECT: Final = 100
MAX_TOKEN_DAYS: Final = 366
# Stands for all projects; none can be called so.
ALL_PROJECTS: Final = "*"

_TOKEN_BYTES: Final = 32
_ID_CHARS: Final = 16

Scope = Literal["read", "write"]
PerSecond = Annotated[int, Meta(ge=1, le=1_000_000_000)]
PerDay = Annotated[int, Meta(ge=1, le=1_000_000_000_000)]
Origin = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9+.-]*://[^\s/?#@A-Z]+$", max_length=255)]
TimeZone = Annotated[str, Meta(min_length=1, max_length=64)]
ProjectOrAll = Annotated[str, Meta(pattern=r"^(\*|[A-Za-z0-9][A-Za-z0-9._-]{0,63})$")]


class WriteKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key that sends events to one project. `id` is the key itself.

    A limit that is None is none. `origins` are the web pages (`https://shop.example`) it may be
    used from, any if there are none: browsers name theirs truthfully, other programs need not.
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
    """What is kept of a query token: its SHA-256, in hex, of which `id` is the beginning.

    It may do what `scopes` say, in `project_id` or, if that is `*`, in all projects, until
    `expires_at`. `read` sees definitions and figures, `write` changes definitions.
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
    """What a project may send, all its keys together, and the time zone of its periods.

    One that is not defined has no limits, and UTC. `timezone` is for cohorts and metrics that name
    none when they are made.
    """

    kind: ClassVar[Kind] = "project"

    id: Id
    updated_at: int
    events_per_s: PerSecond | None = None
    events_per_day: PerDay | None = None
    timezone: TimeZone = "UTC"

    @property
    def project_id(self) -> str:
        """Itself."""
        return self.id


Definition = WriteKey | QueryToken | Project


def mint_write_key() -> str:
    """Return a new write key."""
    return WRITE_KEY_PREFIX + secrets.token_hex(16)


def mint_token() -> str:
    """Return a new query token; whoever is given it keeps it, we do not."""
    return TOKEN_PREFIX + secrets.token_hex(_TOKEN_BYTES)


def digest_of(token: str) -> str:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def token_id(digest: str) -> str:
    """Return the id of the token with this digest: public, as it says nothing of the token."""
    return digest[:_ID_CHARS]


def check_write_key(text: str) -> None:
    """Return if `text`, which producers have been given elsewhere, may become a write key.

    Raises:
        InvalidRequest: it is no key, or a secret.
    """
    if secret := secret_kind(text):
        raise InvalidRequest(f"is {secret}, and a write key is public", "key")
    if not is_id(text) or len(text) < MIN_KEY_CHARS:
        raise InvalidRequest(f"accepted are {MIN_KEY_CHARS} to 64 letters, digits and `._-`", "key")


def secret_kind(text: str) -> str:
    """Tell what secret `text` looks like; empty if it looks like none."""
    return _SECRETS.get(text[:4], "")


_SECRETS: Final = {
    TOKEN_PREFIX: "a query token, which is secret",
    "phx_": "a personal API key of PostHog's, which is secret",
    "phs_": "a secure API key of PostHog's, which is secret",
}


def record_key(definition: Definition) -> bytes:
    """Return the record key on the definitions topic."""
    return definition_key(definition.project_id, definition.kind, definition.id)


def encode(definition: Definition) -> bytes:
    """Encode a definition as it stands on its topic.

    Raises:
        InvalidRequest: it is not one that could be read from there; names the field.
    """
    value = msgspec.json.encode(definition)
    try:
        decode(definition.kind, value)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise InvalidRequest(message, path.rstrip("`").lstrip(".")) from None
    return value


def decode(kind: str, value: bytes) -> Definition | None:
    """Read a definition from its topic; None if it is of another kind.

    Raises:
        msgspec.DecodeError: it is not what its kind says.
    """
    decoder = _DECODERS.get(kind)
    return decode_with(decoder, value) if decoder else None


_DECODERS: Final[dict[str, msgspec.json.Decoder[Definition]]] = {
    struct.kind: msgspec.json.Decoder(struct) for struct in (WriteKey, QueryToken, Project)
}
