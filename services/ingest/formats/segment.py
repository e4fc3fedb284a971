"""Segment's format, which is RudderStack's too: one message a request, or a batch of them.

    theirs                          ours
    track                           the event that `event` names, with its `properties`
    identify                        `$identify`: properties `{"$set": traits}`
    page, screen                    `$pageview`, `$screen`: `properties`, with `name` and `category`
    group                           `$group`: properties `{"$group_id": …, "$group_set": traits}`
    alias                           `$alias`: properties `{"$previous_id": …}`
    messageId                       event_id
    userId, else anonymousId        distinct_id; `anonymousId` is anonymous_id in any case
    timestamp                       timestamp, else `originalTimestamp`, else the arrival
    sentAt                          sent_at, the message's own before the batch's
    context                         context as it is; what it lacks is taken from the batch's
    context.sessionId               session_id (RudderStack)
    context.traits                  the traits of an `identify` without (RudderStack's servers)
    context.direct: true            context gets the caller's `ip` and `userAgent` if it has none
    integrations                    context.integrations, unless empty: who routes by it finds it

Everything else (`channel`, `version`, `_metadata`, …) is about the way here and ends here. The
write key is the user of `Authorization: Basic`, else the body's `writeKey`, else the query's
(RudderStack's beacons), else a `Bearer`: with OAuth that is a token, and the key is in the body.

The reply is `{"success": true}`. RudderStack's own is the text `OK`, yet its SDKs read the status
alone; while Segment's Java SDK decodes this one. Errors have `code` and `message` on top, as both
Python SDKs read them.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from schemas.errors import AvilaError, InvalidRequest
from services.ingest.events import NOTHING, Batch, Event, Result, Time, Unreadable
from services.ingest.formats import Answer, Request
from services.ingest.formats.credentials import read_authorization
from services.ingest.formats.outcome import dropped, failure
from services.ingest.formats.reading import BAD, as_text, lenient, put, unreadable, user_agent
from services.ingest.limits import TooLarge
from services.ingest.refusals import refuse

_Id = str | int | float | None


_KINDS: Final = ("track", "identify", "page", "screen", "group", "alias")

# "" where each message says by itself what it is.
_KINDS_BY_PATH: Final[dict[str, str]] = (
    {f"/v1/{kind}": kind for kind in _KINDS}
    | {f"/v1/{kind[0]}": kind for kind in _KINDS}
    | dict.fromkeys(("/v1/batch", "/v1/b", "/v1/import", "/beacon/v1/batch"), "")
)


class _Message(msgspec.Struct, gc=False, rename="camel"):
    type: str | None = None
    event: str | None = None
    user_id: _Id = None
    anonymous_id: _Id = None
    message_id: str | None = None
    timestamp: Time = None
    original_timestamp: Time = None
    sent_at: Time = None
    properties: msgspec.Raw = NOTHING
    traits: msgspec.Raw = NOTHING
    context: msgspec.Raw = NOTHING
    integrations: msgspec.Raw = NOTHING
    name: str | None = None
    category: str | None = None
    group_id: _Id = None
    previous_id: _Id = None
    write_key: str | None = None


class _Batch(msgspec.Struct, rename="camel"):
    batch: list[_Message]
    write_key: str | None = None
    context: msgspec.Raw = NOTHING
    integrations: msgspec.Raw = NOTHING
    sent_at: Time = None


class _Context(msgspec.Struct, rename="camel"):
    """What is looked at in a context, whatever it may be."""

    direct: Any = None
    session_id: Any = None
    traits: msgspec.Raw = NOTHING


class _Shared(msgspec.Struct):
    """What the messages of one request have in common.

    `kind` is what the path says they are, "" if each says it by itself. `context` has the members
    of the batch's context, and `caller` those of a direct caller's. `completed` is what became of
    contexts and integrations that have been looked at: most messages have the same.
    """

    kind: str
    context: Mapping[str, bytes]
    integrations: msgspec.Raw
    caller: Mapping[str, bytes]
    completed: dict[tuple[bytes, bytes], tuple[msgspec.Raw, str | None]]


_message = msgspec.json.Decoder(_Message)
_batch = msgspec.json.Decoder(_Batch)
_context = msgspec.json.Decoder(_Context)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str | None)
_time = msgspec.json.Decoder(Time)

_TAKEN: Final = Answer(200, b'{"success":true}')


class _Failure(msgspec.Struct, omit_defaults=True):
    code: str
    message: str
    field: str = ""


class Segment:
    """`POST /v1/track` and the like, their one-letter twins, `/v1/batch` and `/v1/import`."""

    name = "segment"
    methods = frozenset({"POST"})
    paths = tuple(_KINDS_BY_PATH)

    def parse(self, request: Request) -> Batch:
        """Read the messages: all at once if all are right, else each by itself."""
        kind = _KINDS_BY_PATH[request.path]
        try:
            if kind:
                message = _message.decode(request.body)
                shared = _share(request, kind, NOTHING, NOTHING, 1)
                return Batch(
                    events=_translate_all([message], shared), key=_key(request, message.write_key)
                )
            whole = _batch.decode(request.body)
            shared = _share(request, kind, whole.context, whole.integrations, len(whole.batch))
        except BAD:
            return _read_carefully(request, kind)
        return Batch(
            events=_translate_all(whole.batch, shared),
            key=_key(request, whole.write_key),
            sent_at=whole.sent_at,
        )

    def answer(self, _: Batch, results: list[Result], retry_after_s: float) -> Answer:
        """Tell success, and what was dropped; or that all was dropped, or is to be sent again."""
        if error := failure(results, retry_after_s):
            return self.refuse(error)
        if drops := dropped(results):
            return Answer(200, msgspec.json.encode({"success": True, "dropped": drops}))
        return _TAKEN

    def refuse(self, error: AvilaError) -> Answer:
        """Say it with `code` and `message` on top."""
        field = error.field if isinstance(error, InvalidRequest) else ""
        body = msgspec.json.encode(_Failure(error.code, str(error), field))
        return msgspec.structs.replace(refuse(error), body=body)


def _read_carefully(request: Request, kind: str) -> Batch:
    """Read a body that is not as it should be: what is wrong with one message harms no other."""
    try:
        fields = _fields.decode(request.body)
    except BAD as error:
        raise InvalidRequest(f"the body is not a JSON object: {error}") from None
    key = _key(request, lenient(_text, fields.get("writeKey")))
    if kind:
        shared = _share(request, kind, NOTHING, NOTHING, 1)
        return Batch(events=_one_by_one([request.body], shared), key=key)
    if "batch" not in fields:
        raise InvalidRequest("is missing; an array of messages is required", "batch")
    try:
        raws = _raws.decode(fields["batch"])
        context, integrations = (fields.get(name, NOTHING) for name in ("context", "integrations"))
        shared = _share(request, kind, context, integrations, len(raws))
    except BAD as error:
        raise InvalidRequest(f"the batch cannot be read: {error}") from None
    return Batch(
        events=_one_by_one(raws, shared), key=key, sent_at=lenient(_time, fields.get("sentAt"))
    )


def _key(request: Request, in_body: str | None) -> str:
    scheme, key = read_authorization(request.headers)
    if scheme == "basic" and key:
        return key
    if in_body:
        return in_body
    if request.query and (given := parse_qs(request.query.decode("latin-1")).get("writeKey")):
        return given[0]
    return key


def _share(
    request: Request, kind: str, context: msgspec.Raw, integrations: msgspec.Raw, count: int
) -> _Shared:
    """Return what `count` messages share.

    Raises:
        TooLarge: they would be, all together.
    """
    text = b"" if context is NOTHING else bytes(context)
    if size := count * (len(text) + len(bytes(integrations))):
        most = request.limits.max_body_bytes
        if size > most:
            raise TooLarge(
                f"{count} messages have {size} bytes more with their batch's context",
                "max_body_bytes",
                most,
                "context",
            )
        request.grow(size)
    return _Shared(
        kind=kind,
        context=(
            {name: bytes(value) for name, value in _fields.decode(text).items()}
            if text.startswith(b"{")
            else {}
        ),
        integrations=integrations,
        caller=_caller(request),
        completed={},
    )


def _caller(request: Request) -> dict[str, bytes]:
    caller = {"ip": msgspec.json.encode(request.client_ip)} if request.client_ip else {}
    if agent := user_agent(request):
        caller["userAgent"] = msgspec.json.encode(agent)
    return caller


def _translate_all(messages: Iterable[_Message], shared: _Shared) -> list[Event | Unreadable]:
    return [_translate(message, shared) for message in messages]


def _one_by_one(
    raws: Iterable[bytes] | Iterable[msgspec.Raw], shared: _Shared
) -> list[Event | Unreadable]:
    events: list[Event | Unreadable] = []
    for raw in raws:
        try:
            message = _message.decode(raw)
        except BAD as error:
            events.append(unreadable(raw, error, "messageId"))
        else:
            events.append(_translate(message, shared))
    return events


def _translate(message: _Message, shared: _Shared) -> Event | Unreadable:
    try:
        read = _READERS.get(shared.kind or message.type or "")
        if read is None:
            raise InvalidRequest(f"is none of {', '.join(_READERS)}", "type")
        user_id, anonymous_id = message.user_id, message.anonymous_id
        if type(user_id) is not str:
            user_id = as_text(user_id, "userId")
        if anonymous_id is not None:
            anonymous_id = as_text(anonymous_id, "anonymousId")
        distinct_id = user_id or anonymous_id
        if not distinct_id:
            raise InvalidRequest("is missing, and so is anonymousId: one is required", "userId")
        event, properties = read(message)
        context, session_id = _complete(message, shared)
    except InvalidRequest as error:
        return Unreadable(error, message.message_id)
    except BAD as error:
        return Unreadable(InvalidRequest(f"cannot be read: {error}", "context"), message.message_id)
    return Event(
        event=event,
        distinct_id=distinct_id,
        event_id=message.message_id,
        timestamp=message.original_timestamp if message.timestamp is None else message.timestamp,
        sent_at=message.sent_at,
        anonymous_id=anonymous_id,
        session_id=session_id,
        properties=properties,
        context=context,
    )


def _complete(message: _Message, shared: _Shared) -> tuple[msgspec.Raw, str | None]:
    """Return the context with what it lacks, and the session that it names."""
    integrations = message.integrations
    if integrations is NOTHING:
        integrations = shared.integrations
    own = bytes(message.context), bytes(integrations)
    completed = shared.completed.get(own)
    if completed is None:
        completed = shared.completed[own] = _look_into(message.context, own[1], shared)
    return completed


def _look_into(
    context: msgspec.Raw, integrations: bytes, shared: _Shared
) -> tuple[msgspec.Raw, str | None]:
    members = shared.context
    if integrations not in {b"{}", b"null"}:
        members = {**members, "integrations": integrations}
    if members:
        context = put(context, members)
    text = bytes(context)
    if not text.startswith(b"{") or not (b'"direct"' in text or b'"sessionId"' in text):
        return context, None
    seen = _context.decode(context)
    if seen.direct is True:
        context = put(context, shared.caller)
    return context, as_text(seen.session_id, "context.sessionId")


def _read_track(message: _Message) -> tuple[str, msgspec.Raw]:
    if message.event is None:
        raise InvalidRequest("is missing; text is required", "event")
    return message.event, message.properties


def _read_identify(message: _Message) -> tuple[str, msgspec.Raw]:
    traits = message.traits
    if traits is NOTHING and bytes(message.context).startswith(b"{"):
        traits = _context.decode(message.context).traits
    return "$identify", put(NOTHING, {"$set": _traits(traits)})


def _read_page(message: _Message) -> tuple[str, msgspec.Raw]:
    return "$pageview", _named(message)


def _read_screen(message: _Message) -> tuple[str, msgspec.Raw]:
    return "$screen", _named(message)


def _read_group(message: _Message) -> tuple[str, msgspec.Raw]:
    group_id = as_text(message.group_id, "groupId")
    if not group_id:
        raise InvalidRequest("is missing", "groupId")
    members = {"$group_id": msgspec.json.encode(group_id), "$group_set": _traits(message.traits)}
    return "$group", put(NOTHING, members)


def _read_alias(message: _Message) -> tuple[str, msgspec.Raw]:
    previous_id = as_text(message.previous_id, "previousId")
    if not previous_id:
        raise InvalidRequest("is missing", "previousId")
    return "$alias", put(NOTHING, {"$previous_id": msgspec.json.encode(previous_id)})


def _named(message: _Message) -> msgspec.Raw:
    members = {}
    if message.name is not None:
        members["name"] = msgspec.json.encode(message.name)
    if message.category is not None:
        members["category"] = msgspec.json.encode(message.category)
    return put(message.properties, members) if members else message.properties


def _traits(raw: msgspec.Raw) -> bytes:
    text = bytes(raw)
    if text == b"null":
        return b"{}"
    if not text.startswith(b"{"):
        raise InvalidRequest("is not an object", "traits")
    return text


_READERS: Final[dict[str, Callable[[_Message], tuple[str, msgspec.Raw]]]] = {
    "track": _read_track,
    "identify": _read_identify,
    "page": _read_page,
    "screen": _read_screen,
    "group": _read_group,
    "alias": _read_alias,
}
