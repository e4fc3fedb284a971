"""A view of `avila.rejected`: how many records of each project are not events, why, and some."""

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from confluent_kafka import Message

from schemas.definitions import is_id
from schemas.rejected import DEFAULT_PROJECT, Header, own_fields

MAX_SAMPLES: Final = 10  # of a reason
MAX_VALUE_CHARS: Final = 2_000  # of a sample
_MAX_REASONS: Final = 10_000  # of all projects; those that came last are kept


class Sample(NamedTuple):
    """A rejected record. `length` is that of its value as received, in bytes."""

    rejected_at: int
    detail: str
    key: str
    topic: str
    partition: int
    offset: int
    length: int
    value: str


class Rejection(NamedTuple):
    """A rejected record, its project and the reason."""

    project: str
    reason: str
    sample: Sample


class Counted:
    """How many records were rejected for one reason, when, and the last of them."""

    def __init__(self) -> None:
        self.count = 0
        self.first_at = 0
        self.last_at = 0
        self.samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)

    def add(self, sample: Sample) -> None:
        """Count one more record."""
        self.first_at = min(self.first_at or sample.rejected_at, sample.rejected_at)
        self.last_at = max(self.last_at, sample.rejected_at)
        self.count += 1
        self.samples.append(sample)


class RejectedRecords:
    """What was rejected, by project and reason, for as long as the topic keeps it."""

    def __init__(self) -> None:
        self._reasons: OrderedDict[tuple[str, str], Counted] = OrderedDict()

    def apply(self, rejections: Sequence[Rejection]) -> None:
        """Count what was read."""
        for project, reason, sample in rejections:
            counted = self._reasons.setdefault((project, reason), Counted())
            self._reasons.move_to_end((project, reason))
            counted.add(sample)
        while len(self._reasons) > _MAX_REASONS:
            self._reasons.popitem(last=False)

    def of(self, project: str) -> dict[str, Counted]:
        """Return what was rejected of a project by reason, the most frequent first."""
        found = {
            reason: counted for (name, reason), counted in self._reasons.items() if name == project
        }
        return dict(sorted(found.items(), key=lambda item: (-item[1].count, item[0])))


class RejectedReader:
    """Reads records of the topic; for the thread that follows it.

    `decode` returns the event of a value in Avro, or None if it is none.
    """

    def __init__(self, decode: Callable[[bytes], dict[str, Any] | None]) -> None:
        self._decode = decode

    def __call__(self, messages: list[Message]) -> list[Rejection]:
        """Return what the records say."""
        return [self._read(message) for message in messages]

    def _read(self, message: Message) -> Rejection:
        headers = own_fields(headers_of(message))
        key = (message.key() or b"").decode(errors="replace")
        value = message.value() or b""
        sample = Sample(
            rejected_at=_number(headers, "rejected_at") or message.timestamp()[1],
            detail=headers.get("detail", ""),
            key=key,
            topic=headers.get("topic", ""),
            partition=_number(headers, "partition"),
            offset=_number(headers, "offset"),
            length=_number(headers, "length") or len(value),
            value=self._text(value)[:MAX_VALUE_CHARS],
        )
        reason = headers.get("reason", "unknown")
        return Rejection(project_of(headers, key), reason, sample)

    def _text(self, value: bytes) -> str:
        if value[:1] == b"\0":
            event = self._decode(value)
            if event is not None:
                return msgspec.json.encode(event).decode()
        return value[: 4 * MAX_VALUE_CHARS].decode(errors="replace")


def headers_of(message: Message) -> list[Header]:
    """Return the headers of a record."""
    given = message.headers() or []
    return list(given.items()) if isinstance(given, dict) else list(given)


def project_of(headers: dict[str, str], key: str) -> str:
    """Return the project of a rejected record, by its own fields and its key."""
    project = headers.get("project") or key.partition(":")[0]
    return project if is_id(project) else DEFAULT_PROJECT


def _number(headers: dict[str, str], name: str) -> int:
    text = headers.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else 0
