"""Annotations: marks at a moment, such as a deploy, which charts show.

An annotation is a definition, `project/annotation/<id>` on the definitions topic. Nothing that is
counted depends on one.
"""

import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from schemas.definitions import Definition, decode_with, read_request
from schemas.errors import InvalidRequest

MAX_ANNOTATIONS_PER_PROJECT: Final = 5_000
_FIRST: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class Annotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happened `at` a moment, such as a deploy. `url` leads to more about it.

    Without `at`, a new annotation is of the moment at which it is created.
    """

    at: Annotated[datetime.datetime, Meta(tz=True)]
    text: Annotated[str, Meta(min_length=1, max_length=1_000)]
    url: Annotated[str, Meta(pattern=r"^(https?://[^\s]+)?$(?!\n)", max_length=2_000)] = ""


class AnnotationDefinition(Definition, frozen=True, kw_only=True):
    """An annotation on the definitions topic."""

    KIND = "annotation"

    annotation: Annotation

    @property
    def at_ms(self) -> int:
        """The moment in milliseconds since 1970."""
        return (self.annotation.at - _FIRST) // datetime.timedelta(milliseconds=1)


def decode_annotation(body: bytes) -> Annotation:
    """Decode an annotation from a request body.

    Raises:
        InvalidRequest: names the field and what is accepted.
    """
    annotation = read_request(_annotation, body)
    if annotation.at < _FIRST:
        raise InvalidRequest("accepted is a time from 1970 on, with a zone", "at")
    return annotation


def encode(definition: AnnotationDefinition) -> bytes:
    """Encode a definition as a record of the definitions topic."""
    return msgspec.json.encode(definition)


def decode(value: bytes) -> AnnotationDefinition:
    """Decode a record of the definitions topic.

    Raises:
        msgspec.DecodeError: it is not an annotation.
    """
    return decode_with(_definition, value)


_annotation: Final = msgspec.json.Decoder(Annotation)
_definition: Final = msgspec.json.Decoder(AnnotationDefinition)
