"""Decoding of an operator's definitions from requests and from the definitions topic."""

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from schemas.definitions import Definition, decode_with, read_request
from schemas.errors import InvalidRequest
from schemas.renames import FindRenamed, refuse_old_names, rename_fields

B = TypeVar("B", bound=msgspec.Struct)
D = TypeVar("D", bound=Definition)


class DefinitionCodec(Generic[B, D]):
    """Reads and writes definitions of the type `definition`, whose bodies are of the type `body`.

    `check` and `check_stored` raise `InvalidRequest` for what the types alone do not refuse;
    `find_renamed` finds the fields of a body that have the names of earlier versions.
    """

    def __init__(
        self,
        body: type[B],
        definition: type[D],
        check: Callable[[B], None],
        check_stored: Callable[[D], None],
        find_renamed: FindRenamed = lambda _: (),
    ) -> None:
        self._body = msgspec.json.Decoder(body)
        self._definition = msgspec.json.Decoder(definition)
        self._check = check
        self._check_stored = check_stored
        self._find_renamed = find_renamed
        self._kind = definition.KIND

    def read_request(self, body: bytes) -> B:
        """Decode the body that a request gives.

        Raises:
            InvalidRequest: names the field and what is accepted; of an old name, the new one.
        """
        try:
            read = read_request(self._body, body)
        except InvalidRequest:
            refuse_old_names(body, self._find_renamed)
            raise
        self._check(read)
        return read

    def encode(self, definition: D) -> bytes:
        """Encode a definition as a record of the definitions topic."""
        return msgspec.json.encode(definition)

    def decode(self, value: bytes) -> D:
        """Decode a record of the definitions topic, whichever version of the product wrote it.

        Raises:
            msgspec.DecodeError: it is not a definition of this kind.
        """
        try:
            definition = decode_with(self._definition, value)
        except msgspec.ValidationError:
            renamed = rename_fields(value, self._kind, self._find_renamed)
            if renamed is None:
                raise
            definition = decode_with(self._definition, renamed)
        try:
            self._check_stored(definition)
        except InvalidRequest as error:
            raise msgspec.DecodeError(str(error)) from None
        return definition
