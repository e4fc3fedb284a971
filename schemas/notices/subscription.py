"""Subscriptions: which events somebody is told of, and where.

A subscription is a definition, `project/subscription/<id>` on the definitions topic. The secrets
that sign webhooks are not in it: they are derived from the deployment's (`schemas.notices.secret`).
"""

import re
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from schemas.definitions import Definition, Id, Text, decode_with, read_request
from schemas.errors import InvalidRequest
from schemas.notices.events import EVENT_TYPES

MAX_SUBSCRIPTIONS_PER_PROJECT: Final = 50
MAX_EVENTS: Final = 20
MAX_RECIPIENTS: Final = 10
_PRINTABLE: Final = re.compile(r"[!-~]+")
# Not `=?`: mail programs read an encoded word from there on, which is another address.
_ADDRESS: Final = (
    r"^(?!.*=\?)[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@"
    r"[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})+$(?!\n)"
)

Url = Annotated[str, Meta(min_length=8, max_length=2_000)]
Address = Annotated[str, Meta(pattern=_ADDRESS, max_length=254)]


class WebhookDestination(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="webhook"):
    """A receiver of signed requests, as Standard Webhooks defines them."""

    url: Url


class SlackDestination(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="slack"):
    """An incoming webhook of Slack, or of a service that takes the same messages."""

    url: Url


class EmailDestination(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="email"):
    """Recipients of e-mail."""

    to: Annotated[tuple[Address, ...], Meta(min_length=1, max_length=MAX_RECIPIENTS)]


class KafkaDestination(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="kafka"):
    """A topic of the deployment's cluster, one of those that a setting allows."""

    topic: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,249}$(?!\n)")]


Destination = WebhookDestination | SlackDestination | EmailDestination | KafkaDestination


class EventChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The events of one type: of all definitions, or of the one with an id.

    `id` is that of the alert, segment, funnel, cohort, metric or prediction.
    """

    type: str
    id: Id | None = None


class Subscription(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """Who is told of which events, and how.

    An alert that names a subscription in `notify` tells it of its incidents; `events` may then be
    empty. Events that happened more than `max_age_s` before they were published, such as those of a
    backfill, are left out; by default none are. While it is not `active`, no event is taken, and
    what waits is not sent.
    """

    destination: Destination
    events: Annotated[tuple[EventChoice, ...], Meta(max_length=MAX_EVENTS)] = ()
    active: bool = True
    max_age_s: Annotated[int, Meta(ge=1, le=366 * 86_400)] | None = None
    name: Text = ""
    description: Text = ""

    def takes(self, event_type: str, definition_id: str) -> bool:
        """Whether it is about an event of a type and a definition."""
        return any(
            choice.type == event_type and choice.id in {None, definition_id}
            for choice in self.events
        )


class SubscriptionDefinition(Definition, frozen=True, kw_only=True):
    """A subscription on the definitions topic.

    `secret_number` counts the secrets that it has had. The one before signs, too, until
    `rotated_until` (ms).
    """

    KIND = "subscription"

    subscription: Subscription
    secret_number: int = 1
    rotated_until: int = 0


def decode_subscription(body: bytes) -> Subscription:
    """Decode a subscription from a request body.

    Raises:
        InvalidRequest: names the field and what is accepted.
    """
    subscription = read_request(_subscription, body)
    for place, choice in enumerate(subscription.events):
        if choice.type not in EVENT_TYPES:
            raise InvalidRequest(f"accepted are {', '.join(EVENT_TYPES)}", f"events[{place}].type")
    if isinstance(subscription.destination, WebhookDestination | SlackDestination):
        check_url(subscription.destination.url, "destination.url")
    return subscription


def check_url(url: str, field: str) -> None:
    """Raise `InvalidRequest` unless requests can be sent to an address.

    Which networks it may lead to is decided when a request is sent.
    """
    accepted = "accepted is an address such as https://hooks.shop.example/avila"
    if not _PRINTABLE.fullmatch(url) or "\\" in url:
        raise InvalidRequest(f"{accepted}, without spaces and in ASCII", field)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidRequest(accepted, field) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise InvalidRequest(accepted, field)
    if parts.username is not None or parts.password is not None:
        raise InvalidRequest(f"{accepted}, without a user and a password", field)
    if parts.fragment:
        raise InvalidRequest(f"{accepted}, without a #", field)


def encode(definition: SubscriptionDefinition) -> bytes:
    """Encode a definition as a record of the definitions topic."""
    return msgspec.json.encode(definition)


def decode(value: bytes) -> SubscriptionDefinition:
    """Decode a record of the definitions topic.

    Raises:
        msgspec.DecodeError: it is not a subscription.
    """
    return decode_with(_definition, value)


_subscription: Final = msgspec.json.Decoder(Subscription)
_definition: Final = msgspec.json.Decoder(SubscriptionDefinition)
