"""Segment's format, also used by RudderStack: one message a request, or a batch of messages.

    Segment                         Avila
    track                           the event named in `event`, with its `properties`
    identify                        `$identify`: properties `{"$set": traits}`
    page, screen                    `$pageview`, `$screen`: `properties`, with `name` and `category`
    group                           `$group`: properties `{"$group_id": …, "$group_set": traits}`
    alias                           `$alias`: properties `{"$previous_id": …}`
    messageId                       event_id
    userId, else anonymousId        distinct_id; `anonymousId` is always anonymous_id
    timestamp                       timestamp, else `originalTimestamp`, else the arrival
    sentAt                          sent_at, the message's own before the batch's
    context                         context, completed from the batch's
    context.sessionId               session_id (RudderStack)
    context.traits                  the traits of an `identify` without any (RudderStack's servers)
    context.direct: true            context gets the caller's `ip` and `userAgent` if it has none
    integrations                    context.integrations, unless empty

Other fields (`channel`, `version`, `_metadata`, …) are dropped. The write key is the user of
`Authorization: Basic`, else the body's `writeKey`, else the query's (RudderStack's beacons), else a
`Bearer`: with OAuth the header holds a token, and the body the key.

The answer is `{"success": true}`, which Segment's Java SDK decodes. RudderStack's own service
answers with the text `OK`, but its SDKs read only the status. Errors have `code` and `message` at
the top level, where both Python SDKs read them.
"""

from typing import Final
from urllib.parse import parse_qs

import msgspec

from schemas.errors import AvilaError, InvalidRequest
from services.ingest.events import EMPTY_OBJECT, Batch, EventResult, Time
from services.ingest.formats import Answer, Request
from services.ingest.formats.credentials import read_authorization
from services.ingest.formats.outcome import failure, remarks
from services.ingest.formats.reading import (
    EventReader,
    decode_or_none,
    read_items,
    read_members,
    repaired,
)
from services.ingest.formats.segment_message import SegmentMessage, share, translate_all
from services.ingest.json_text import DECODE_ERRORS
from services.ingest.refusals import refuse

_KINDS: Final = ("track", "identify", "page", "screen", "group", "alias")

# The type of messages by path; "" where each message names its own.
_KINDS_BY_PATH: Final[dict[str, str]] = (
    {f"/v1/{kind}": kind for kind in _KINDS}
    | {f"/v1/{kind[0]}": kind for kind in _KINDS}
    | dict.fromkeys(("/v1/batch", "/v1/b", "/v1/import", "/beacon/v1/batch"), "")
)


class _Batch(msgspec.Struct, rename="camel"):
    batch: list[SegmentMessage]
    write_key: str | None = None
    context: msgspec.Raw = EMPTY_OBJECT
    integrations: msgspec.Raw = EMPTY_OBJECT
    sent_at: Time = None


_message = msgspec.json.Decoder(SegmentMessage)
_batch = msgspec.json.Decoder(_Batch)
_text = msgspec.json.Decoder(str | None)
_time = msgspec.json.Decoder(Time)

_SUCCESS: Final = Answer(200, b'{"success":true}')


class _Failure(msgspec.Struct, omit_defaults=True):
    code: str
    message: str
    field: str = ""


class Segment:
    """`POST /v1/track` and similar paths, their one-letter forms, `/v1/batch` and `/v1/import`."""

    name = "segment"
    methods = frozenset({"POST"})
    paths = tuple(_KINDS_BY_PATH)

    def parse(self, request: Request) -> Batch:
        """Read the messages: all at once if all are valid, else one by one."""
        batch = _read_body(request)
        batch.text_ids = True
        return batch

    def answer(self, _: Batch, results: list[EventResult], retry_after_s: float) -> Answer:
        """Answer 200 with remarks; an error if none was taken or one is to be retried."""
        if error := failure(results, retry_after_s):
            return self.refuse(error)
        if members := remarks(results):
            return Answer(200, msgspec.json.encode({"success": True, **members}))
        return _SUCCESS

    def refuse(self, error: AvilaError) -> Answer:
        """Answer with `code` and `message` at the top level."""
        field = error.field if isinstance(error, InvalidRequest) else ""
        body = msgspec.json.encode(_Failure(error.code, str(error), field))
        return msgspec.structs.replace(refuse(error), body=body)


def _read_body(request: Request) -> Batch:
    kind = _KINDS_BY_PATH[request.path]
    try:
        if kind:
            message = _message.decode(request.body)
            shared = share(request, kind, EMPTY_OBJECT, EMPTY_OBJECT, 1)
            return Batch(
                events=translate_all([message], shared), key=_key(request, message.write_key)
            )
        whole = _batch.decode(request.body)
        shared = share(request, kind, whole.context, whole.integrations, len(whole.batch))
    except DECODE_ERRORS:
        return _read_each(request, kind)
    return Batch(
        events=translate_all(whole.batch, shared),
        key=_key(request, whole.write_key),
        sent_at=whole.sent_at,
    )


def _read_each(request: Request, kind: str) -> Batch:
    """Read the messages of a body one by one, so that an invalid one affects no other."""
    try:
        fields = read_members(request.body)
    except DECODE_ERRORS as error:
        raise InvalidRequest(f"the body is not a JSON object: {error}") from None
    key = _key(request, decode_or_none(_text, fields.get("writeKey")))
    reader = EventReader(_message, "messageId")
    if kind:
        shared = share(request, kind, EMPTY_OBJECT, EMPTY_OBJECT, 1)
        messages = reader.read_all([request.body])
        return Batch(events=translate_all(messages, shared), key=key, notes=reader.notes)
    if "batch" not in fields:
        raise InvalidRequest("is missing; an array of messages is required", "batch")
    try:
        raws = read_items(fields["batch"], request.limits.max_events)
        context, integrations = (
            repaired(fields.get(name, EMPTY_OBJECT)) for name in ("context", "integrations")
        )
        shared = share(request, kind, context, integrations, len(raws))
    except DECODE_ERRORS as error:
        raise InvalidRequest(f"the batch cannot be read: {error}") from None
    return Batch(
        events=translate_all(reader.read_all(raws), shared),
        notes=reader.notes,
        key=key,
        sent_at=decode_or_none(_time, fields.get("sentAt")),
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
