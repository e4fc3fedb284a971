"""The records of `avila.deliveries`: messages that wait for their receivers, and commands.

Records have the key `project/subscription`, so that a subscription's are in order in one partition,
and its state, under the same key, in the partition of the same number.
"""

from typing import Final

import msgspec

from schemas.definitions import decode_with


class Message(msgspec.Struct, frozen=True, tag_field="queued", tag="message", kw_only=True):
    """A message for one receiver.

    `id` is its `webhook-id`, the same whenever it is sent. Messages of equal `key` are sent in
    order. `body` is the JSON text that is sent, byte for byte the same each time. `created_at` (ms)
    is when what it is about was published, from which on it is tried for a day.
    """

    id: str
    key: str
    type: str
    created_at: int
    body: str


class Replay(msgspec.Struct, frozen=True, tag_field="queued", tag="replay", kw_only=True):
    """A command to send messages once more, under the ids that they have.

    They are the dead ones, or with `all` those that were delivered, too, of what was published from
    `since` to `until` (ms); with `id` only the one message.
    """

    since: int
    until: int
    all: bool = False
    id: str | None = None


Queued = Message | Replay


class Dead(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a message that its receiver has not taken within a day."""

    message: Message
    at: int
    attempts: int
    status: int
    reason: str


class Attempts(msgspec.Struct, kw_only=True):
    """How often a message has been tried, and when it is due again (ms)."""

    count: int
    due_at: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a receiver answered to a message; `status` is 0 if it did not answer."""

    id: str
    type: str
    at: int
    attempt: int
    status: int
    reason: str = ""
    delivered: bool = False


class DeliveryState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How far a subscription is: the record of `avila.state.deliveries`.

    `created_at` is that of the subscription: the state of a deleted one is not that of its
    successor. `low` is the offset of the first message that is not settled (None if all are that
    were read). Of the messages below `high`, those of the offsets `open` are not settled, and all
    others are; `attempts` are those of open ones. Earlier versions wrote `settled` in place of
    both: the offsets above `low` that are.
    `failures` counts those since the last success; until `open_until` (ms) nothing is tried.
    """

    created_at: int
    revision: int = 0
    low: int | None = None
    high: int = 0
    open: list[int] = []
    settled: list[int] = []
    attempts: dict[int, Attempts] = {}
    failures: int = 0
    open_until: int = 0
    delivered: int = 0
    dead: int = 0
    waiting: int = 0
    recent: list[Outcome] = []


def queue_key(project_id: str, subscription_id: str) -> bytes:
    """Return the record key of a subscription's messages and of its state."""
    return f"{project_id}/{subscription_id}".encode()


def parse_queue_key(key: bytes) -> tuple[str, str]:
    """Return the project and the subscription of a record key; raises `ValueError`."""
    project, subscription = key.decode().split("/")
    return project, subscription


def encode_queued(queued: Queued) -> bytes:
    """Encode a record of the queue."""
    return msgspec.json.encode(queued)


def decode_queued(value: bytes) -> Queued:
    """Decode a record of the queue; raises `msgspec.DecodeError`."""
    return decode_with(_queued, value)


def encode_dead(dead: Dead) -> bytes:
    """Encode a dead message."""
    return msgspec.json.encode(dead)


def decode_dead(value: bytes) -> Dead:
    """Decode a dead message; raises `msgspec.DecodeError`."""
    return decode_with(_dead, value)


def encode_state(state: DeliveryState) -> bytes:
    """Encode a state."""
    return msgspec.json.encode(state)


def decode_state(value: bytes) -> DeliveryState:
    """Decode a state; raises `msgspec.DecodeError`."""
    return decode_with(_state, value)


_queued: Final[msgspec.json.Decoder[Queued]] = msgspec.json.Decoder(Queued)
_dead: Final = msgspec.json.Decoder(Dead)
_state: Final = msgspec.json.Decoder(DeliveryState)
