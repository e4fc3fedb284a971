"""Feature flags: what a feature is switched on for, and which of its variants a person sees.

A flag is a definition, `project/flag/<id>` on the definitions topic. The query service writes it,
and the ingest service answers the SDKs that ask for it. Writers ensure that a project has at most
one flag of a key.

Who sees a flag follows from its definition, the members of its segment, and `bucket`, which spreads
persons over shares and variants. `bucket` must never change: persons would switch variants. It is
the function that PostHog uses, so that a flag that moves here with its key, percentage and weights
keeps everybody where they are.
"""

import hashlib
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from schemas.definitions import Definition, Id, Text, decode_with, read_request
from schemas.errors import InvalidRequest

MAX_FLAGS_PER_PROJECT: Final = 200
MAX_VARIANTS: Final = 20
MAX_PAYLOAD_BYTES: Final = 4_096

_BUCKETS: Final = float(0xFFFFFFFFFFFFFFF)

FlagKey = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$(?!\n)")]
Percentage = Annotated[float, Meta(ge=0, le=100)]
# Any JSON value: code that asks for a flag gives it its meaning.
Payload = Any


class FlagVariant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of the values of a flag; its share is its `weight` among those of all variants.

    `payload` replaces the flag's own for those who see this variant.
    """

    key: FlagKey
    weight: Annotated[float, Meta(ge=0, le=1_000_000)] = 1.0
    payload: Payload = None


class Flag(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A flag, which SDKs know by its `key`.

    It is on for `rollout_percentage` percent of the members of `segment`, or of all persons without
    one. For each of them its value is one of the `variants`, or true if there are none. SDKs do not
    see a flag that is not `active`. `payload` goes to those for whom the flag is on; null is none.
    """

    key: FlagKey
    segment: Id | None = None
    variants: Annotated[tuple[FlagVariant, ...], Meta(max_length=MAX_VARIANTS)] = ()
    rollout_percentage: Percentage = 100.0
    payload: Payload = None
    active: bool = True
    name: Text = ""
    description: Text = ""


class FlagDefinition(Definition, frozen=True, kw_only=True):
    """A flag on the definitions topic."""

    KIND = "flag"

    flag: Flag


def bucket(key: str, distinct_id: str, salt: str = "") -> float:
    """Return where a person is between 0 and 1 for the flag of a key. It must never change.

    It is the number that the first 15 hexadecimal digits of the SHA-1 of `key.distinct_id` give,
    over the largest such number. A flag is on for those at `rollout_percentage` / 100 or below. The
    salt `variant` gives the place among the variants, which follow each other in their order, each
    as long as its share.
    """
    text = f"{key}.{distinct_id}{salt}".encode()
    digits = hashlib.sha1(text, usedforsecurity=False).hexdigest()[:15]
    return int(digits, 16) / _BUCKETS


def decode_flag(body: bytes) -> Flag:
    """Decode a flag from a request body.

    Raises:
        InvalidRequest: names the field and what is accepted.
    """
    flag = read_request(_flag, body)
    _check(flag)
    return flag


def encode(definition: FlagDefinition) -> bytes:
    """Encode a definition as a record of the definitions topic."""
    return msgspec.json.encode(definition)


def decode(value: bytes) -> FlagDefinition:
    """Decode a record of the definitions topic.

    Raises:
        msgspec.DecodeError: it is not a flag.
    """
    definition = decode_with(_definition, value)
    try:
        _check(definition.flag)
    except InvalidRequest as error:
        raise msgspec.DecodeError(f"flag.{error}") from None
    return definition


def _check(flag: Flag) -> None:
    _check_payload(flag.payload, "payload")
    for place, variant in enumerate(flag.variants):
        _check_payload(variant.payload, f"variants[{place}].payload")
    keys = [variant.key for variant in flag.variants]
    for place, key in enumerate(keys):
        if key in keys[:place]:
            raise InvalidRequest(f"there is a variant {key} already", f"variants[{place}].key")
    if keys and not sum(variant.weight for variant in flag.variants):
        raise InvalidRequest("one of the weights must be above 0", "variants")


def _check_payload(payload: Payload, field: str) -> None:
    if len(msgspec.json.encode(payload)) > MAX_PAYLOAD_BYTES:
        raise InvalidRequest(f"accepted are at most {MAX_PAYLOAD_BYTES} bytes of JSON", field)


_flag: Final = msgspec.json.Decoder(Flag)
_definition: Final = msgspec.json.Decoder(FlagDefinition)
