"""The responses about subscriptions."""

import datetime

import msgspec

from schemas.notices.delivery import DeliveryState
from schemas.notices.subscription import Destination, EventChoice, SubscriptionDefinition
from services.query.http.params import instant


class SubscriptionResponse(msgspec.Struct, frozen=True):
    """A subscription as it is shown; `created_at` and `updated_at` in milliseconds since 1970."""

    id: str
    revision: int
    version: int
    created_at: int
    updated_at: int
    destination: Destination
    events: tuple[EventChoice, ...]
    active: bool
    max_age_s: int | None
    name: str
    description: str


class SubscriptionListResponse(msgspec.Struct, frozen=True):
    """Some of a project's subscriptions, by id; `next` is the next page's `after`."""

    subscriptions: list[SubscriptionResponse]
    next: str | None


class SecretResponse(msgspec.Struct, frozen=True):
    """The secret that signs a webhook's requests.

    Until `previous_until`, they have a second signature, by the `previous` secret.
    """

    secret: str
    previous: str | None = None
    previous_until: datetime.datetime | None = None


class QueuedResponse(msgspec.Struct, frozen=True):
    """What was put into the queue of a subscription; `id` is the `webhook-id` of a message."""

    queued: str
    id: str | None = None


class SentResponse(msgspec.Struct, frozen=True):
    """What a receiver answered; `status` is 0 if it did not."""

    id: str
    type: str
    at: datetime.datetime
    attempt: int
    status: int
    reason: str
    delivered: bool


class DeliveryStatusResponse(msgspec.Struct, frozen=True):
    """How far the messages of a subscription are.

    `state` is `ok`, `failing` (the last message was not taken), `resting` (five were not taken in a
    row, so that one a minute is tried) or `inactive`. `waiting` counts the messages that the
    notifier holds; more may be in the queue, as it holds 1,000 at most. `oldest_waiting` is the
    offset of the first that is not settled. `recent` has the last tries, the newest first.
    """

    state: str
    delivered: int
    dead: int
    waiting: int
    oldest_waiting: int | None
    failures: int
    next_try: datetime.datetime | None
    recent: list[SentResponse]


def show(definition: SubscriptionDefinition) -> SubscriptionResponse:
    """Return a subscription as it is shown."""
    subscription = definition.subscription
    return SubscriptionResponse(
        definition.id,
        definition.revision,
        definition.version,
        definition.created_at,
        definition.updated_at,
        subscription.destination,
        subscription.events,
        subscription.active,
        subscription.max_age_s,
        subscription.name,
        subscription.description,
    )


def show_status(
    definition: SubscriptionDefinition, state: DeliveryState | None, break_after: int
) -> DeliveryStatusResponse:
    """Return how far the messages are; without a state, none has been sent."""
    if state is None or state.created_at != definition.created_at:
        state = DeliveryState(created_at=definition.created_at)
    due = [tried.due_at for tried in state.attempts.values()]
    name = "ok" if not state.failures else "failing"
    if state.failures >= break_after:
        name, due = "resting", [state.open_until]
    if not definition.subscription.active:
        name, due = "inactive", []
    return DeliveryStatusResponse(
        state=name,
        delivered=state.delivered,
        dead=state.dead,
        waiting=state.waiting,
        oldest_waiting=state.low,
        failures=state.failures,
        next_try=instant(min(due)) if due else None,
        recent=[
            SentResponse(
                one.id,
                one.type,
                instant(one.at),
                one.attempt,
                one.status,
                one.reason,
                one.delivered,
            )
            for one in state.recent
        ],
    )
