"""Flags as they are evaluated: pure decisions, with all that may be answered encoded beforehand."""

import zlib
from typing import Final, NamedTuple

import msgspec

from schemas.flags import FlagDefinition, Payload, bucket

# The same for all who do not see a flag: it must not say whether the segment or the share is why.
_OFF: Final = {"code": "no_condition_match", "condition_index": None, "description": "Not matched"}
_ON: Final = {"code": "condition_match", "condition_index": 0, "description": "Matched"}


class Outcome(NamedTuple):
    """A value that a flag may have.

    `record` and `typed` are the flag's records in answers, JSON; `typed` also has the value itself.
    `payload` is JSON in a text, None without one.
    """

    value: bool | str
    payload: str | None
    record: msgspec.Raw
    typed: msgspec.Raw


class Rule:
    """A flag that is active.

    Attributes:
        key: the name by which SDKs know it.
        segment: whose members see it; None is everybody.
        failed: the record of the flag where its value cannot be computed.
    """

    __slots__ = ("_bounds", "_off", "_on", "_share", "failed", "key", "segment")

    def __init__(self, definition: FlagDefinition) -> None:
        flag = definition.flag
        self.key = flag.key
        self.segment = flag.segment
        self._share = flag.rollout_percentage / 100
        self._off = _outcome(definition, False, None)
        self._on = _outcome(definition, True, flag.payload)
        self._bounds = _bounds(definition)
        typed = _record(definition, False, None) | {"value": None, "failed": True}
        self.failed = msgspec.Raw(msgspec.json.encode(typed))

    def decide(self, person: str, is_member: bool | None) -> Outcome | None:
        """Return the flag's value for a person; None if it depends on a membership not known yet.

        `is_member` says whether the person is in the segment; None says that this is not known.
        """
        if is_member is False or not self._is_in_share(person):
            return self._off
        if is_member is None:
            return None
        if not self._bounds:
            return self._on
        place = bucket(self.key, person, "variant")
        for bound, outcome in self._bounds:
            if place < bound:
                return outcome
        return self._bounds[-1][1]

    def _is_in_share(self, person: str) -> bool:
        if self._share >= 1:
            return True
        return self._share > 0 and bucket(self.key, person) <= self._share


def _bounds(definition: FlagDefinition) -> tuple[tuple[float, Outcome], ...]:
    """Return each variant that anybody sees, with the place between 0 and 1 where it ends."""
    flag = definition.flag
    whole = sum(variant.weight for variant in flag.variants)
    found, end = [], 0.0
    for variant in flag.variants:
        if variant.weight:
            end += variant.weight / whole
            payload = flag.payload if variant.payload is None else variant.payload
            found.append((end, _outcome(definition, variant.key, payload)))
    return tuple(found)


def _outcome(definition: FlagDefinition, value: bool | str, payload: Payload) -> Outcome:
    text = None if payload is None else msgspec.json.encode(payload).decode()
    record = _record(definition, value, text)
    typed = record | {"value": value, "failed": False}
    return Outcome(
        value,
        text,
        msgspec.Raw(msgspec.json.encode(record)),
        msgspec.Raw(msgspec.json.encode(typed)),
    )


def _record(
    definition: FlagDefinition, value: bool | str, payload: str | None
) -> dict[str, object]:
    metadata = {
        "id": _number(definition),
        "version": definition.version,
        "description": "",
        "config_version": 1,
    }
    return {
        "key": definition.flag.key,
        "enabled": bool(value),
        "variant": value if isinstance(value, str) else None,
        "reason": _ON if value else _OFF,
        "metadata": metadata if payload is None else metadata | {"payload": payload},
    }


def _number(definition: FlagDefinition) -> int:
    """Return a number in place of the one that PostHog's flags have, which SDKs pass on."""
    return zlib.crc32(definition.key) >> 1
