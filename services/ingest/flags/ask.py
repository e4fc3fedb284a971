"""What an SDK asks: the body of `/flags` and `/decide`, in all encodings in which SDKs send it."""

from typing import Final
from urllib.parse import parse_qs

import msgspec

from schemas.errors import InvalidRequest
from schemas.json_text import Json
from services.ingest.flags.person import person_of
from services.ingest.formats import Request
from services.ingest.formats.credentials import read_authorization
from services.ingest.formats.posthog_body import unwrap
from services.ingest.json_text import DECODE_ERRORS

_FIRST_VERSION: Final = 1


class Ask(msgspec.Struct, frozen=True):
    """A request for flags.

    `key` is the write key, "" without one. `person` is None if the request only asks for the
    configuration. `flag_keys` are the flags asked for; None is all. `version` is the format of the
    answer.
    """

    key: str
    person: str | None
    flag_keys: frozenset[str] | None
    version: int


class _Body(
    msgspec.Struct,
    rename={"dollar_token": "$token", "dollar_distinct_id": "$distinct_id"},
):
    """The members that are read; `person_properties` and the like are claims, and are not."""

    token: Json = None
    api_key: Json = None
    dollar_token: Json = None
    distinct_id: Json = None
    dollar_distinct_id: Json = None
    flag_keys: Json = None
    flag_keys_to_evaluate: Json = None
    disable_flags: Json = None


_body: Final = msgspec.json.Decoder(_Body)


def read_ask(request: Request) -> Ask:
    """Read a request for flags. GET without `data` asks for the configuration alone.

    Raises:
        UnsupportedMedia, TooLarge, BackOff: the body cannot be unwrapped.
        InvalidRequest: the body is not an object, or its `distinct_id` is missing or no id.
    """
    query = parse_qs(request.query.decode("latin-1")) if request.query else {}
    version = _version(query.get("v", [""])[-1])
    if request.method == "GET" and "data" not in query:
        return Ask("", None, None, version)
    try:
        body = _body.decode(unwrap(request, query))
    except DECODE_ERRORS as error:
        raise InvalidRequest(f"the body cannot be read as a request for flags: {error}") from None
    keys = (body.token, body.api_key, body.dollar_token)
    given: str = next((key for key in keys if isinstance(key, str) and key), "")
    distinct_id = body.distinct_id if body.distinct_id is not None else body.dollar_distinct_id
    return Ask(
        given or read_authorization(request.headers)[1],
        person_of(distinct_id),
        _flag_keys(body),
        version,
    )


def _version(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 4 else _FIRST_VERSION


def _flag_keys(body: _Body) -> frozenset[str] | None:
    """Return the flags that are asked for: posthog-js and the SDKs of servers name them apart."""
    if body.disable_flags is True:
        return frozenset()
    for given in (body.flag_keys, body.flag_keys_to_evaluate):
        if isinstance(given, list):
            return frozenset(one for one in given if isinstance(one, str))
    return None
