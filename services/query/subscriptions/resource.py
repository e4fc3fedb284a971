"""The endpoints of subscriptions."""

import secrets as randoms
import time
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import msgspec
import structlog
from confluent_kafka import Message as KafkaMessage
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from schemas.definitions import Text, counts_alike, read_request
from schemas.errors import Conflict, InvalidRequest, Misconfigured
from schemas.notices.delivery import (
    DeliveryState,
    Message,
    Replay,
    decode_state,
    parse_queue_key,
)
from schemas.notices.secret import secret_text, secrets_of, webhook_key
from schemas.notices.subscription import (
    MAX_SUBSCRIPTIONS_PER_PROJECT,
    EmailDestination,
    KafkaDestination,
    SlackDestination,
    Subscription,
    SubscriptionDefinition,
    WebhookDestination,
    decode_subscription,
    encode,
)
from schemas.settings import Settings
from schemas.time.rfc3339 import read_time
from services.commands import Commands, Write
from services.query.documents.resource import Documents, DocumentSpec
from services.query.http.params import encode_response, instant, now_ms, parts, read_fields
from services.query.subscriptions.commands import DeliveryCommands
from services.query.subscriptions.rates import CommandRates
from services.query.subscriptions.response import (
    QueuedResponse,
    SecretResponse,
    SubscriptionListResponse,
    show,
    show_status,
)
from services.query.views.changes import Key
from services.topic_view import TopicView
from services.webhooks.addresses import read_networks, refused
from services.webhooks.queue import BREAK_AFTER, MAX_HELD
from services.webhooks.router import body_of
from services.webhooks.senders import allowed_topics

log = structlog.get_logger(__name__)

MAX_OVERLAP_S: Final = 30 * 86_400
TEST_TYPE: Final = "test"


class RotateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For `overlap_s`, requests have a signature by the secret before the new one, too."""

    overlap_s: Annotated[int, Meta(ge=0, le=MAX_OVERLAP_S)] = 86_400


class ReplayRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Send messages once more, with the ids that they have.

    By default those that nobody took within a day; with `all` every message that is kept (for seven
    days). `since` and `until` narrow them by the time at which they were queued first, `id` to one.
    """

    all: bool = False
    since: Text | None = None
    until: Text | None = None
    id: Annotated[str, Meta(min_length=1, max_length=100)] | None = None


def _define(parts: dict[str, Any], subscription: Subscription) -> SubscriptionDefinition:
    return SubscriptionDefinition(**parts, subscription=subscription)


SPEC: Final = DocumentSpec(
    kind=SubscriptionDefinition.KIND,
    plural="subscriptions",
    read=decode_subscription,
    define=_define,
    body=lambda definition: definition.subscription,
    counts_alike=counts_alike,
    encode=encode,
    show=show,
    page=SubscriptionListResponse,
)

DeliveryStates = dict[Key, DeliveryState]


class Subscriptions(Documents[Subscription, SubscriptionDefinition]):
    """The endpoints under `/api/projects/{project}/subscriptions`.

    Attributes:
        states: how far each is, as `states_view` reads it.
    """

    max_per_project = MAX_SUBSCRIPTIONS_PER_PROJECT

    def __init__(self, settings: Settings, view: TopicView[Any], commands: Commands) -> None:
        super().__init__(SPEC, view, commands)
        self._settings = settings
        self._queue = DeliveryCommands(settings)
        self._rates = CommandRates()
        self.states: DeliveryStates = {}
        self.states_view = TopicView(
            "deliveries",
            settings.cluster,
            [settings.topics.delivery_state.name],
            _read_states,
            self._apply_states,
        )

    async def secret(self, request: Request) -> Response:
        """Show the secret that signs a webhook's requests."""
        return encode_response(self._secrets(self.find(request)))

    async def rotate(self, request: Request) -> Response:
        """Give a webhook a new secret."""
        key = self._key(request)
        fields = await read_fields(request)
        asked = read_request(_rotate, msgspec.json.encode(fields))
        self._view.require()

        def decide() -> Write[SubscriptionDefinition]:
            before = self.definitions.get(key)
            now = max(now_ms(), before.updated_at)
            numbers = self.definitions.numbers(key).next()._replace(version=before.version)
            made = SubscriptionDefinition(
                **parts(key, numbers, before.created_at, now),
                subscription=before.subscription,
                secret_number=before.secret_number + 1,
                rotated_until=now + 1_000 * asked.overlap_s,
            )
            return Write(made.key, encode(made), {}, made)

        return encode_response(self._secrets(await self._commands.change(decide)))

    async def replay(self, request: Request) -> Response:
        """Send messages once more."""
        definition = self.find(request)
        asked = read_request(_replay, msgspec.json.encode(await read_fields(request)))
        since, until = _read_ms(asked.since, "since"), _read_ms(asked.until, "until")
        command = Replay(
            since=since or 0,
            until=now_ms() + 1 if until is None else until,
            all=asked.all,
            id=asked.id,
        )
        state = self.states.get(Key(definition.project_id, definition.id))
        if state is not None and state.waiting > MAX_HELD // 2:
            raise Conflict(
                f"{state.waiting} messages wait already: replay others once these were sent"
            )
        self._rates.count(definition.project_id)
        await self._queue.put(definition.project_id, definition.id, command)
        return encode_response(QueuedResponse("replay"), 202)

    async def test(self, request: Request) -> Response:
        """Send a message of the type `test`."""
        definition = self.find(request)
        self._rates.count(definition.project_id)
        at = now_ms()
        name = f"msg_{randoms.token_hex(16)}"
        data = {"project_id": definition.project_id, "subscription_id": definition.id}
        message = Message(
            id=name,
            key=TEST_TYPE,
            type=TEST_TYPE,
            created_at=at,
            body=body_of(TEST_TYPE, at, data).decode(),
        )
        await self._queue.put(definition.project_id, definition.id, message)
        return encode_response(QueuedResponse("message", name), 202)

    async def status(self, request: Request) -> Response:
        """Show how far the messages are."""
        definition = self.find(request)
        self.states_view.require()
        state = self.states.get(Key(definition.project_id, definition.id))
        return encode_response(show_status(definition, state, BREAK_AFTER))

    def _key(self, request: Request) -> Key:
        definition = self.find(request)
        return Key(definition.project_id, definition.id)

    def _secrets(self, definition: SubscriptionDefinition) -> SecretResponse:
        destination = definition.subscription.destination
        if not isinstance(destination, WebhookDestination):
            raise InvalidRequest("only a webhook is signed", "destination.type")
        try:
            key = webhook_key(self._settings)
        except Misconfigured as error:
            raise InvalidRequest(str(error), "destination") from None
        first, *others = map(secret_text, secrets_of(key, definition, time.time_ns() // 1_000_000))
        if not others:
            return SecretResponse(first)
        return SecretResponse(first, others[0], instant(definition.rotated_until))

    def _check(self, project: str, body: Subscription) -> None:  # noqa: ARG002 (the same in all)
        """Refuse what this deployment cannot deliver."""
        settings = self._settings
        match body.destination:
            case WebhookDestination(url=url) | SlackDestination(url=url):
                self._check_host(urlsplit(url).hostname or "")
                if isinstance(body.destination, WebhookDestination):
                    try:
                        webhook_key(settings)
                    except Misconfigured as error:
                        raise InvalidRequest(str(error), "destination") from None
            case EmailDestination():
                if not settings.smtp_url:
                    raise InvalidRequest(
                        "AVILA_SMTP_URL is not set, so no e-mail can be sent", "destination"
                    )
            case KafkaDestination(topic=topic):
                allowed = allowed_topics(settings)
                if topic not in allowed:
                    raise InvalidRequest(
                        f"accepted are {', '.join(allowed) or 'none'}: those that "
                        "AVILA_NOTICE_TOPICS names",
                        "destination.topic",
                    )

    def _check_host(self, host: str) -> None:
        """Refuse a literal address that requests must not be sent to."""
        try:
            ip_address(host.partition("%")[0])
        except ValueError:
            return  # a name: what it leads to is known when a request is sent
        if refused([host], read_networks(self._settings.webhook_networks)):
            raise InvalidRequest(
                f"{host} is not public: AVILA_WEBHOOK_NETWORKS names the networks that are allowed",
                "destination.url",
            )

    def _write(
        self, definition: SubscriptionDefinition, before: SubscriptionDefinition | None
    ) -> Write[SubscriptionDefinition]:
        if before is not None:
            definition = msgspec.structs.replace(
                definition,
                secret_number=before.secret_number,
                rotated_until=before.rotated_until,
            )
        return super()._write(definition, before)

    def _apply_states(self, changes: Sequence[tuple[Key, DeliveryState | None]]) -> None:
        for key, state in changes:
            if state is None:
                self.states.pop(key, None)
            else:
                self.states[key] = state


def _read_states(messages: list[KafkaMessage]) -> list[tuple[Key, DeliveryState | None]]:
    found: list[tuple[Key, DeliveryState | None]] = []
    for message in messages:
        value = message.value()
        try:
            key = Key(*parse_queue_key(message.key() or b""))
            found.append((key, None if value is None else decode_state(value)))
        except (ValueError, msgspec.DecodeError) as error:
            log.error("delivery_state_unreadable", key=message.key(), reason=str(error))
    return found


def _read_ms(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    at = read_time(text)
    if at is None or at < 0:
        raise InvalidRequest("accepted is a time, as 2026-11-22 or 2026-11-22T10:00:00Z", name)
    return at


_rotate: Final = msgspec.json.Decoder(RotateRequest)
_replay: Final = msgspec.json.Decoder(ReplayRequest)
