"""Definitions: what users ask to be kept, as typed values. Decoding one is validating it.

A definition travels as JSON on the definitions topic under the key `project/kind/id`; a tombstone
deletes it. Whoever reads the topic skips the kinds it has no use for. Every change of a funnel
raises its `version`, and each version is folded from a clean state. Tracking plans, which have
versions too, are in `schemas.plans`; keys and projects, which have none, in `schemas.keys`.
"""

import re
from typing import Annotated, ClassVar, Final, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from schemas.choices import accepted_at
from schemas.errors import InvalidRequest
from schemas.time.since import ALL_TIME

T = TypeVar("T")

MAX_WINDOW_S: Final = 366 * 86_400

Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
EventName = Annotated[str, Meta(min_length=1, max_length=200)]
Text = Annotated[str, Meta(max_length=1_000)]

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def is_id(text: str) -> bool:
    """Tell whether `text` may name a project or a definition: 1-64 of letters, digits, `._-`."""
    return _ID.fullmatch(text) is not None


# What a definition is: the name of an operator, or `plan`, `write-key`, `query-token`, `project`.
Kind: TypeAlias = str


# The fields of a definition's body that change nothing of what is counted.
DISPLAYED: Final = ("name", "description")
# The `previous` of a definition that no earlier version counts for.
NO_PREVIOUS: Final = msgspec.Raw(b"null")


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of every record on the definitions topic, beside those of its kind.

    `revision` rises with every change, `version` only when the change alters what is counted; a
    record of 0, or without one, has the revision of its version. `previous` is the whole record
    that counted before this version, without a `previous` of its own: `OperatorSpec.previous`
    decodes it. (It is `Raw` alone because msgspec cannot decode `Raw | None`.)
    """

    KIND: ClassVar[Kind]

    project_id: str
    id: str
    version: int
    created_at: int
    updated_at: int
    revision: int = 0
    previous: msgspec.Raw = NO_PREVIOUS

    def __post_init__(self) -> None:
        """Number the revision of records that were written before there were revisions."""
        if not self.revision:
            msgspec.structs.force_setattr(self, "revision", self.version)

    @property
    def since_ms(self) -> int:
        """From when on events count (ms since 1970)."""
        return ALL_TIME

    @property
    def key(self) -> bytes:
        """The record key on the definitions topic."""
        return definition_key(self.project_id, self.KIND, self.id)


def definition_key(project_id: str, kind: Kind, definition_id: str) -> bytes:
    """The record key of a definition: `project/kind/id`."""
    return f"{project_id}/{kind}/{definition_id}".encode()


def parse_key(key: bytes) -> tuple[str, str, str]:
    """Split a definition's record key into project, kind and id."""
    project_id, kind, definition_id = key.decode().split("/")
    return project_id, kind, definition_id


def counts_alike(before: msgspec.Struct, after: msgspec.Struct) -> bool:
    """Tell whether two bodies of one kind count the same: all but what is only displayed is equal.

    What is equal by value but written with another JSON type (1 and true, 1 and 1.0) differs.
    """
    return _counted(before) == _counted(after)


def _counted(body: msgspec.Struct) -> bytes:
    shown = {name: "" for name in DISPLAYED if name in body.__struct_fields__}
    return msgspec.json.encode(msgspec.structs.replace(body, **shown))


def decode_with(decoder: msgspec.json.Decoder[T], value: bytes | msgspec.Raw) -> T:
    """Decode what anybody may have written; raises `msgspec.DecodeError` for all that is no JSON.

    That includes text which is not UTF-8, or is nested too deeply.
    """
    try:
        return decoder.decode(value)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None


def read_request(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode what a request asks for.

    Raises:
        InvalidRequest: names the field and what is accepted.
    """
    try:
        return decode_with(decoder, body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        path = path.rstrip("`").lstrip(".")
        if message.startswith("Invalid enum value"):
            message = f"{message}; accepted are {accepted_at(decoder.type, path)}"
        raise InvalidRequest(message, path) from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None
