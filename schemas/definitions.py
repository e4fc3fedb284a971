"""What all definitions have in common. A definition that can be decoded is valid.

Definitions are JSON records of the definitions topic under the key `project/kind/id`; a tombstone
deletes one. Readers of the topic skip the kinds that they do not use. Every version of an
operator's definition is counted from the first event on. Those definitions are in
`schemas.operators`, tracking plans in `schemas.plans`, and keys and projects, which have no
versions, in `schemas.keys`.
"""

import hashlib
import json
import re
from typing import Annotated, Any, ClassVar, Final, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from schemas.choices import accepted_at, fields_at
from schemas.conditions import PATTERNS
from schemas.errors import InvalidRequest
from schemas.time.since import ALL_TIME

T = TypeVar("T")

MAX_WINDOW_S: Final = 366 * 86_400

# `$` alone would accept a line feed at the end, here and in all patterns of requests.
Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$(?!\n)")]
EventName = Annotated[str, Meta(min_length=1, max_length=200)]
Text = Annotated[str, Meta(max_length=1_000)]

# For messages: what is accepted as an id.
ID_FORMAT: Final = "1 to 64 letters, digits and `._-`, beginning with a letter or digit"
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def is_id(text: str) -> bool:
    """Return whether `text` can be the id of a project or a definition: see `ID_FORMAT`."""
    return _ID.fullmatch(text) is not None


# The name of an operator, or `plan`, `dashboard`, `dashboard-link`, `write-key`, `query-token`,
# `project` or `session`.
Kind: TypeAlias = str

# The fields of a definition's body that do not change what is counted.
DISPLAYED: Final = ("name", "description")
# The `previous` of a definition for which no earlier version counts.
NO_PREVIOUS: Final = msgspec.Raw(b"null")


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that the definitions of all kinds have.

    `revision` rises with every change, `version` only with a change of what is counted; a record
    whose revision is 0 or absent has that of its version. `previous` is the whole record that
    counted before this version, without its own `previous`; decode it with `OperatorSpec.previous`.
    (It is `Raw` because msgspec cannot decode `Raw | None`.)
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
        """Give records without a revision that of their version."""
        if not self.revision:
            msgspec.structs.force_setattr(self, "revision", self.version)

    @property
    def since_ms(self) -> int:
        """The first moment whose events count (ms since 1970)."""
        return ALL_TIME

    @property
    def key(self) -> bytes:
        """Its record key on the definitions topic."""
        return definition_key(self.project_id, self.KIND, self.id)


def tag_of(definition: Definition) -> int:
    """Return 64 bits, unsigned, that name a version of a definition in records about it.

    One that is deleted and created again has another tag: records of the deleted one are not its
    own.
    """
    name = "/".join((definition.KIND, definition.project_id, definition.id))
    text = f"{name}/{definition.version}/{definition.created_at}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def definition_key(project_id: str, kind: Kind, definition_id: str) -> bytes:
    """Return the record key of a definition: `project/kind/id`."""
    return f"{project_id}/{kind}/{definition_id}".encode()


def parse_key(key: bytes) -> tuple[str, str, str]:
    """Split a record key into project, kind and id; raises `ValueError` if it is none."""
    project_id, kind, definition_id = key.decode().split("/")
    return project_id, kind, definition_id


def counts_alike(before: msgspec.Struct, after: msgspec.Struct) -> bool:
    """Return whether two bodies of one kind count the same: they differ in `DISPLAYED` only.

    The order and spacing of JSON that is kept as it was given make no difference. Values of
    different JSON types (1 and true, 1 and 1.0) differ, although Python finds them equal.
    """
    return _counted(before) == _counted(after)


def _counted(body: msgspec.Struct) -> str:
    # All fields, because a default that was given in a request is not always left out.
    fields = {name: getattr(body, name) for name in body.__struct_fields__}
    text = msgspec.json.encode({n: value for n, value in fields.items() if n not in DISPLAYED})
    return json.dumps(json.loads(text), sort_keys=True)  # exact for whole numbers of any size


def decode_with(decoder: msgspec.json.Decoder[T], value: bytes | msgspec.Raw) -> T:
    """Decode JSON from an untrusted source.

    Raises:
        msgspec.DecodeError: it is not valid, which includes text that is not UTF-8 or nested too
            deeply.
    """
    try:
        return decoder.decode(value)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(str(error)) from None
    except RecursionError:
        raise msgspec.DecodeError("it is nested too deeply") from None


def read_request(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode the body of a request.

    Raises:
        InvalidRequest: names the field and what is accepted.
    """
    try:
        return decode_with(decoder, body)
    except msgspec.ValidationError as error:
        raise _invalid(decoder.type, str(error)) from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None


def _invalid(of: Any, text: str) -> InvalidRequest:
    """Return the error for what msgspec says of a value that is not of the type `of`."""
    message, _, path = text.partition(" - at ")
    if path.startswith("`key` in "):
        message, path = f"a key is wrong: {message}", path.removeprefix("`key` in ")
    path = path.strip("`").removeprefix("$").lstrip(".")
    if message.startswith("Invalid enum value"):
        message = f"{message}; accepted are {accepted_at(of, path)}"
    elif message.startswith("Object contains unknown field") and (names := fields_at(of, path)):
        message = f"{message}; accepted are {names}"
    for pattern, accepted in PATTERNS.items():
        message = accepted if message.endswith(repr(pattern)) else message
    return InvalidRequest(message, path)
