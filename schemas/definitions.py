"""Definitions: what users ask to be kept, as typed values. Decoding one is validating it.

A definition travels as JSON on the definitions topic under the key `project/kind/id`; a tombstone
deletes it. Whoever reads the topic skips the kinds it has no use for. Every change of a funnel
raises its `version`, and each version is folded from a clean state. Tracking plans, which have
versions too, are in `schemas.plans`; keys and projects, which have none, in `schemas.keys`.
"""

import re
from typing import Annotated, ClassVar, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from schemas.conditions import MAX_CONDITIONS, Condition, check_conditions
from schemas.errors import InvalidRequest

T = TypeVar("T")

MAX_STEPS: Final = 32
MAX_WINDOW_S: Final = 366 * 86_400
MAX_FUNNELS_PER_PROJECT: Final = 200

Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
EventName = Annotated[str, Meta(min_length=1, max_length=200)]
Text = Annotated[str, Meta(max_length=1_000)]

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def is_id(text: str) -> bool:
    """Tell whether `text` may name a project or a definition: 1-64 of letters, digits, `._-`."""
    return _ID.fullmatch(text) is not None


Kind = Literal["funnel", "cohort", "plan", "write-key", "query-token", "project"]


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One step of a funnel: an event by name, all of whose conditions hold."""

    event: EventName
    where: Annotated[tuple[Condition, ...], Meta(max_length=MAX_CONDITIONS)] = ()


class Funnel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An ordered funnel: how far persons get through `steps` within `window_s` of the first.

    The window is inclusive. Entries are counted by day (UTC) of the first step, each person once a
    day, and in total, each person once. Equal to ClickHouse's `windowFunnel`: events in order of
    time, of equal times in order of the steps; the latest first step restarts the chain; one event
    may satisfy several steps.
    """

    steps: Annotated[tuple[Step, ...], Meta(min_length=2, max_length=MAX_STEPS)]
    window_s: Annotated[int, Meta(ge=1, le=MAX_WINDOW_S)] = 7 * 86_400
    name: Text = ""


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """What every definition on the definitions topic says, beside what is its kind's own."""

    KIND: ClassVar[Kind]

    project_id: str
    id: str
    version: int
    created_at: int
    updated_at: int

    @property
    def key(self) -> bytes:
        """The record key on the definitions topic."""
        return definition_key(self.project_id, self.KIND, self.id)


class FunnelDefinition(Definition, frozen=True, kw_only=True):
    """A funnel as it stands on the definitions topic."""

    KIND = "funnel"

    funnel: Funnel


def definition_key(project_id: str, kind: Kind, definition_id: str) -> bytes:
    """The record key of a definition: `project/kind/id`."""
    return f"{project_id}/{kind}/{definition_id}".encode()


def parse_key(key: bytes) -> tuple[str, str, str]:
    """Split a definition's record key into project, kind and id."""
    project_id, kind, definition_id = key.decode().split("/")
    return project_id, kind, definition_id


def decode_with(decoder: msgspec.json.Decoder[T], value: bytes | msgspec.Raw) -> T:
    """Decode what anybody may have written; raises `msgspec.DecodeError` for all that is no JSON.

    That includes text which is not UTF-8, or is nested too deeply.
    """
    try:
        return decoder.decode(value)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None


_decoder = msgspec.json.Decoder(Funnel)
_definition_decoder = msgspec.json.Decoder(FunnelDefinition)


def read_request(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode what a request asks for.

    Raises:
        InvalidRequest: names the field and what is accepted.
    """
    try:
        return decode_with(decoder, body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise InvalidRequest(message, path.rstrip("`").lstrip(".")) from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None


def decode_funnel(body: bytes) -> Funnel:
    """Read a funnel from a request body.

    Raises:
        InvalidRequest: names the field and what is accepted.
    """
    funnel = read_request(_decoder, body)
    _check(funnel)
    return funnel


def encode(definition: FunnelDefinition) -> bytes:
    """Encode a definition as it stands on its topic."""
    return msgspec.json.encode(definition)


def decode(value: bytes) -> FunnelDefinition:
    """Read a definition from its topic; raises `msgspec.DecodeError` if it is not one."""
    definition = decode_with(_definition_decoder, value)
    try:
        _check(definition.funnel)
    except InvalidRequest as error:
        raise msgspec.DecodeError(str(error)) from None
    return definition


def _check(funnel: Funnel) -> None:
    for number, step in enumerate(funnel.steps):
        check_conditions(step.where, f"steps[{number}].where")
