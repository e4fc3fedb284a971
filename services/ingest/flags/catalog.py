"""The flags on the definitions topic, and which segments there are, as a view."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
import structlog
from confluent_kafka import Message

from schemas.definitions import parse_key
from schemas.flags import FlagDefinition, decode
from schemas.operators.segment import SEGMENT
from services.ingest.flags.rules import Rule

_log = structlog.get_logger()

_NO_RULES: Final[tuple[Rule, ...]] = ()


class SegmentKey(NamedTuple):
    """The name of a segment."""

    project_id: str
    id: str


class FlagChange(NamedTuple):
    """The new rule of a flag; None if nobody sees the flag: inactive, deleted or unreadable."""

    project_id: str
    flag_id: str
    rule: Rule | None


class SegmentChange(NamedTuple):
    """A segment was defined, or deleted."""

    key: SegmentKey
    exists: bool


class FlagChanges(NamedTuple):
    """What some records of the definitions topic say of flags and segments."""

    flags: Sequence[FlagChange]
    segments: Sequence[SegmentChange]


class FlagCatalog:
    """The current flags that are active, and the segments that exist. Use it from one thread."""

    def __init__(self) -> None:
        self._flags: dict[str, dict[str, Rule]] = {}
        self._rules: dict[str, tuple[Rule, ...]] = {}
        self._segments: set[SegmentKey] = set()

    def apply(self, changes: FlagChanges) -> None:
        """Apply changes in the order of the topic; applying them again changes nothing."""
        for key, exists in changes.segments:
            if exists:
                self._segments.add(key)
            else:
                self._segments.discard(key)
        for project_id, flag_id, rule in changes.flags:
            flags = self._flags.setdefault(project_id, {})
            flags.pop(flag_id, None)
            if rule is not None:
                flags[flag_id] = rule
        for project_id in {change.project_id for change in changes.flags}:
            flags = self._flags[project_id]
            # Two flags of one key can only be written past the API. All processes pick the same.
            by_key = {flags[one].key: flags[one] for one in sorted(flags, reverse=True)}
            if by_key:
                self._rules[project_id] = tuple(by_key[key] for key in sorted(by_key))
            else:
                self._rules.pop(project_id, None)
                del self._flags[project_id]

    def rules(self, project_id: str) -> tuple[Rule, ...]:
        """Return the active flags of a project, by key."""
        return self._rules.get(project_id, _NO_RULES)

    def exists(self, key: SegmentKey) -> bool:
        """Whether a segment is defined."""
        return key in self._segments

    def named_segments(self) -> frozenset[SegmentKey]:
        """Return the segments that exist and that an active flag names."""
        named = (
            SegmentKey(project_id, rule.segment)
            for project_id, rules in self._rules.items()
            for rule in rules
            if rule.segment is not None
        )
        return frozenset(key for key in named if key in self._segments)


def read_flag_changes(messages: Iterable[Message]) -> FlagChanges:
    """Return the changes of flags and segments among records of the definitions topic.

    Logs a line for each flag that cannot be read. SDKs do not see such a flag, nor the version that
    it replaces.
    """
    found: Mapping[str, list[tuple[str, str, Message]]] = defaultdict(list)
    for message in messages:
        try:
            project_id, kind, name = parse_key(message.key() or b"")
        except ValueError:
            continue
        if kind in {FlagDefinition.KIND, SEGMENT.name}:
            found[kind].append((project_id, name, message))
    return FlagChanges(
        [
            FlagChange(project_id, name, _read_rule(message))
            for project_id, name, message in found[FlagDefinition.KIND]
        ],
        [
            SegmentChange(SegmentKey(project_id, name), message.value() is not None)
            for project_id, name, message in found[SEGMENT.name]
        ],
    )


def _read_rule(message: Message) -> Rule | None:
    value = message.value()
    if value is None:
        return None
    try:
        definition = decode(value)
    except msgspec.DecodeError as error:
        _log.error("flag_skipped", key=message.key(), offset=message.offset(), reason=str(error))
        return None
    return Rule(definition) if definition.flag.active else None
