"""Reads the topic of segments from its beginning, and keeps the members of some."""

from collections.abc import Callable, Collection
from typing import Final, NamedTuple

import structlog
from confluent_kafka import Message

from schemas.avro.codec import Codec
from schemas.avro.files import history, load
from schemas.cluster import Address
from schemas.registry.client import SchemaRegistry
from services.ingest.flags.catalog import SegmentKey
from services.ingest.flags.member_set import Hashes, MemberSet
from services.ingest.flags.person import person_hash
from services.topic_view import TopicView

_log = structlog.get_logger()

_SCHEMA: Final = "segment-change"


class SegmentSource(NamedTuple):
    """Where changes of segments are read: a topic, and the registry of its schemas.

    `open_registry` is called in the thread that reads, and may block.
    """

    cluster: Address
    topic: str
    open_registry: Callable[[], SchemaRegistry]


class _Update(NamedTuple):
    """What changes in a segment: some members, or all of them at once."""

    key: SegmentKey
    changes: dict[int, bool]
    merged: Hashes | None


class MemberReading:
    """The members of the segments `keys`, up to date with the topic from `start` to `stop`.

    Attributes:
        members: by segment, from the first record on; whole once `view.caught_up`.
        view: the thread that reads.
    """

    def __init__(self, source: SegmentSource, keys: Collection[SegmentKey]) -> None:
        self.members: dict[SegmentKey, MemberSet] = {key: MemberSet() for key in keys}
        self._names = {f"{key.project_id}/{key.id}".encode(): key for key in keys}
        self._source = source
        self._registry: SchemaRegistry | None = None
        self._codec: Codec | None = None
        self.view = TopicView("segments", source.cluster, [source.topic], self._read, self._apply)

    def start(self) -> None:
        """Start reading; call it on the loop."""
        self.view.start()

    async def stop(self) -> None:
        """Stop reading, and forget the connections."""
        await self.view.stop()
        if self._registry is not None:
            self._registry.close()

    def keep_only(self, keys: Collection[SegmentKey]) -> None:
        """Forget the members of all other segments."""
        for key in self.members.keys() - set(keys):
            del self.members[key]

    def _read(self, messages: list[Message]) -> list[_Update]:
        """Return what records change; runs in the thread, where large sets are merged."""
        latest: dict[tuple[SegmentKey, int], Message] = {}
        for message in messages:
            project_id, _, rest = (message.key() or b"").partition(b"/")
            segment, _, person = rest.partition(b"/")
            key = self._names.get(project_id + b"/" + segment)
            if key is not None and key in self.members:
                latest[key, person_hash(person)] = message
        changed: dict[SegmentKey, dict[int, bool]] = {}
        for (key, hashed), is_member in self._read_moves(latest).items():
            changed.setdefault(key, {})[hashed] = is_member
        return [
            _Update(key, changes, members.merged(changes))
            for key, changes in changed.items()
            if (members := self.members.get(key)) is not None
        ]

    def _read_moves(
        self, latest: dict[tuple[SegmentKey, int], Message]
    ) -> dict[tuple[SegmentKey, int], bool]:
        """Return who is in. A person whose record is a tombstone, or cannot be read, is not."""
        moves = dict.fromkeys(latest, False)
        persons = [person for person, message in latest.items() if message.value() is not None]
        if not persons:
            return moves
        decoded = self._decoder().decode([latest[person].value() for person in persons])
        changes = decoded.batch.column("change").to_pylist()
        for row, change in zip(decoded.rows.tolist(), changes, strict=True):
            moves[persons[row]] = change == "entered"
        for failure in decoded.failures:
            message = latest[persons[failure.row]]
            place = {"partition": message.partition(), "offset": message.offset()}
            _log.error("segment_change_skipped", reason=failure.detail, **place)
        return moves

    def _apply(self, updates: list[_Update]) -> None:
        for key, changes, merged in updates:
            members = self.members.get(key)
            if members is None:
                continue  # forgotten meanwhile
            if merged is None:
                members.apply(changes)
            else:
                members.replace(merged)

    def _decoder(self) -> Codec:
        if self._codec is None:
            self._registry = self._source.open_registry()
            self._codec = Codec(load(_SCHEMA), self._registry.find, shipped=history(_SCHEMA))
        return self._codec
