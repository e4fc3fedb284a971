"""Translate one event of Snowplow's trackers.

    theirs                          ours
    e=pv, e=pp                      `$pageview`, `$page_ping`: properties `url`, `title` (`page`),
                                    `referrer` (`refr`), and a ping's `min_x` (`pp_mix`), …
    e=ue                            the event that the schema in `ue_pr` or `ue_px` names, `paid` of
                                    `iglu:com.acme/paid/jsonschema/1-0-0`, with its data
    e=se                            the event that `se_ac` names: properties `category`, `label`,
                                    `property`, `value`
    e=tr, e=ti                      `$transaction`, `$transaction_item`: `order_id`, `total`, …
    eid                             event_id
    uid, else duid, tnuid, nuid     distinct_id
    duid                            anonymous_id
    sid                             session_id
    ttm, else dtm                   timestamp
    stm                             sent_at, but not with a `ttm`, which needs no correction
    co, cx                          context.entities, each with `schema` and `data`
    the schema in ue_pr, ue_px      context.schema
    aid, p, lang, tz                context.app.id, platform, locale, timezone
    res with cd, vp                 context.screen (`width`, `height`, `colorDepth`), viewport
    tv, tna                         context.library: `version` (`js-4.8.0`), `namespace`
    ua, ip, else the caller's       context.userAgent, ip; not the caller's with `SP-Anonymous`
    url, page, refr                 context.page, unless they are properties

Apps send neither `duid` nor `sid`; the entity `client_session` has both (`userId`, `sessionId`).
Fields named `…x` hold JSON in base64. Trackers send numbers as text; those with a numeric meaning
become numbers again. Other fields (`cs`, `ds`, `cookie`, `vid`, …) are dropped.
"""

import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

import msgspec

from schemas.errors import InvalidRequest
from schemas.json_text import Json
from services.ingest.events import EMPTY_OBJECT, Event, Time, Unreadable
from services.ingest.formats.reading import id_as_text, with_members
from services.ingest.json_text import DECODE_ERRORS

_T = TypeVar("_T")

# A payload, by Snowplow's keys.
Payload = dict[str, str]

_PAGE: Final = {"url": "url", "page": "title", "refr": "referrer"}
_PING: Final = {"pp_mix": "min_x", "pp_max": "max_x", "pp_miy": "min_y", "pp_may": "max_y"}
_STRUCTURED: Final = {
    "se_ca": "category",
    "se_la": "label",
    "se_pr": "property",
    "se_va": "value",
}
_TRANSACTION: Final = {
    "tr_id": "order_id",
    "tr_af": "affiliation",
    "tr_tt": "total",
    "tr_tx": "tax",
    "tr_sh": "shipping",
    "tr_ci": "city",
    "tr_st": "state",
    "tr_co": "country",
    "tr_cu": "currency",
}
_ITEM: Final = {
    "ti_id": "order_id",
    "ti_sk": "sku",
    "ti_nm": "name",
    "ti_ca": "category",
    "ti_pr": "price",
    "ti_qu": "quantity",
    "ti_cu": "currency",
}
_NUMBERS: Final = frozenset({*_PING, "se_va", "tr_tt", "tr_tx", "tr_sh", "ti_pr", "ti_qu"})

# Events that Snowplow itself defines: our names, and their properties.
_NAMED: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "pv": ("$pageview", _PAGE),
    "pp": ("$page_ping", _PAGE | _PING),
    "tr": ("$transaction", _TRANSACTION),
    "ti": ("$transaction_item", _ITEM),
}
_KINDS: Final = (*_NAMED, "se", "ue")

_schema_name = re.compile(r"iglu:[^/]+/([^/]+)/[^/]+/[^/]+").fullmatch
_extent = re.compile(r"([0-9]{1,9})x([0-9]{1,9})").fullmatch
_MAX_TIME_DIGITS: Final = 15
_MAX_DEPTH_DIGITS: Final = 4
# Maps both alphabets of base64 to one. A `+` in an address that was not escaped arrives as a space.
_ALPHABET: Final = bytes.maketrans(b"-_ ", b"+/+")


class _SelfDescribing(msgspec.Struct):
    schema: str
    data: msgspec.Raw = EMPTY_OBJECT


class _Wrapped(msgspec.Struct):
    """The content of `ue_pr`: a self-describing event, wrapped once more."""

    data: _SelfDescribing


class _Entities(msgspec.Struct):
    data: list[msgspec.Raw]


class _Session(msgspec.Struct, rename="camel"):
    user_id: Json = None
    session_id: Json = None


_number = msgspec.json.Decoder(float)
_wrapped = msgspec.json.Decoder(_Wrapped)
_entities = msgspec.json.Decoder(_Entities)
_self_describing = msgspec.json.Decoder(_SelfDescribing)
_session = msgspec.json.Decoder(_Session)

_NO_SESSION: Final = _Session()


def translate(payload: Payload, caller: Mapping[str, bytes]) -> Event | Unreadable:
    """Return the event, or why it cannot be read; `caller` completes its context."""
    event_id = payload.get("eid")
    try:
        event, properties, schema = _read_event(payload)
        entities = [*_entities_of(payload, "co"), *_entities_of(payload, "cx")]
        session = _session_of(entities)
        anonymous_id = payload.get("duid") or id_as_text(session.user_id, "userId")
        session_id = payload.get("sid") or id_as_text(session.session_id, "sessionId")
        distinct_id = (
            payload.get("uid") or anonymous_id or payload.get("tnuid") or payload.get("nuid")
        )
        if not distinct_id:
            raise InvalidRequest("is missing, and so is duid: one is required", "uid")
    except InvalidRequest as error:
        return Unreadable(error, event_id)
    true_time = _time(payload.get("ttm"))
    return Event(
        event=event,
        distinct_id=distinct_id,
        event_id=event_id,
        timestamp=_time(payload.get("dtm")) if true_time is None else true_time,
        sent_at=_time(payload.get("stm")) if true_time is None else None,
        anonymous_id=anonymous_id,
        session_id=session_id,
        properties=properties,
        context=_context(payload, caller, schema, entities),
    )


def _read_event(payload: Payload) -> tuple[str, msgspec.Raw, str]:
    """Return the event's name, its properties, and the schema it names, "" without one."""
    kind = payload.get("e", "")
    if named := _NAMED.get(kind):
        name, properties = named
        return name, with_members(EMPTY_OBJECT, _members(payload, properties)), ""
    if kind == "se":
        if not (action := payload.get("se_ac")):
            raise InvalidRequest("is missing; text is required", "se_ac")
        return action, with_members(EMPTY_OBJECT, _members(payload, _STRUCTURED)), ""
    if kind != "ue":
        raise InvalidRequest(f"is none of {', '.join(_KINDS)}", "e")
    field = "ue_pr" if payload.get("ue_pr") else "ue_px"
    if (text := _json_of(payload, field)) is None:
        raise InvalidRequest("is missing, and so is ue_px: one is required", "ue_pr")
    described = _decode(_wrapped, text, field).data
    if not (found := _schema_name(described.schema)):
        raise InvalidRequest(
            f"{described.schema[:100]!r} is not iglu:vendor/name/format/version", field
        )
    return found[1], described.data, described.schema


def _members(payload: Payload, names: Mapping[str, str]) -> dict[str, bytes]:
    return {
        ours: _as_number(value) if theirs in _NUMBERS else msgspec.json.encode(value)
        for theirs, ours in names.items()
        if (value := payload.get(theirs))
    }


def _as_number(text: str) -> bytes:
    """Return a number as JSON; text that is not a number becomes a JSON string."""
    try:
        _number.decode(text)
    except DECODE_ERRORS:
        return msgspec.json.encode(text)
    return text.encode()


def _time(text: str | None) -> Time:
    """Return milliseconds as a number; other text is returned as it is."""
    if text and text.isdecimal() and len(text) <= _MAX_TIME_DIGITS:
        return int(text)
    return text or None


def _json_of(payload: Payload, field: str) -> bytes | None:
    """Return the JSON in `field`, which is base64 if its name ends in x; None without it."""
    text = payload.get(field)
    if not text:
        return None
    if not field.endswith("x"):
        return text.encode()
    try:
        return binascii.a2b_base64(text.encode().translate(_ALPHABET) + b"==")
    except binascii.Error as error:
        raise InvalidRequest(f"is not base64: {error}", field) from None


def _decode(decoder: msgspec.json.Decoder[_T], text: bytes | msgspec.Raw, field: str) -> _T:
    try:
        return decoder.decode(text)
    except DECODE_ERRORS as error:
        raise InvalidRequest(f"cannot be read: {error}", field) from None


def _entities_of(payload: Payload, field: str) -> list[msgspec.Raw]:
    text = _json_of(payload, field)
    return [] if text is None else _decode(_entities, text, field).data


def _session_of(entities: Iterable[msgspec.Raw]) -> _Session:
    """Return the session from the entity that apps send with each event."""
    for entity in entities:
        # Search for the bare name: the slashes around it may be escaped.
        if b"client_session" in bytes(entity):
            described = _decode(_self_describing, entity, "co")
            if "/client_session/" in described.schema:
                return _decode(_session, described.data, "co")
    return _NO_SESSION


def _context(
    payload: Payload, caller: Mapping[str, bytes], schema: str, entities: list[msgspec.Raw]
) -> msgspec.Raw:
    about: dict[str, Json] = {
        "app": _without_empty({"id": payload.get("aid")}),
        "platform": payload.get("p"),
        "locale": payload.get("lang"),
        "timezone": payload.get("tz"),
        "ip": payload.get("ip"),
        "userAgent": payload.get("ua"),
        "screen": _size(payload.get("res")) | _depth(payload.get("cd")),
        "viewport": _size(payload.get("vp")),
        "library": _without_empty({"version": payload.get("tv"), "namespace": payload.get("tna")}),
        "schema": schema,
        "entities": entities,
    }
    if payload.get("e") not in {"pv", "pp"}:
        about["page"] = _without_empty({ours: payload.get(key) for key, ours in _PAGE.items()})
    members = {name: msgspec.json.encode(value) for name, value in about.items() if value}
    return with_members(EMPTY_OBJECT, {**caller, **members})


def _without_empty(texts: Mapping[str, str | None]) -> dict[str, str]:
    return {name: text for name, text in texts.items() if text}


def _size(text: str | None) -> dict[str, int]:
    """Return a width and a height; neither if they cannot be read."""
    found = _extent(text or "")
    return {"width": int(found[1]), "height": int(found[2])} if found else {}


def _depth(text: str | None) -> dict[str, int]:
    if text and text.isdecimal() and len(text) <= _MAX_DEPTH_DIGITS:
        return {"colorDepth": int(text)}
    return {}
