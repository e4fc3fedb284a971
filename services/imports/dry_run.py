"""What a file would become: the fields of its events, their types, and samples."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from services.ingest.events import Row

_SAMPLES: Final = 3
_SAMPLE_CHARS: Final = 40
_MAX_FIELDS: Final = 200

_decode: Final = msgspec.json.Decoder()
_TYPES: Final = {
    str: "text",
    bool: "boolean",
    int: "number",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "null",
}


class _Field:
    def __init__(self) -> None:
        self.types: Counter[str] = Counter()
        self.samples: dict[str, None] = {}

    def add(self, value: Any) -> None:
        self.types[_TYPES[type(value)]] += 1
        if len(self.samples) < _SAMPLES:
            self.samples[msgspec.json.encode(value).decode()[:_SAMPLE_CHARS]] = None

    def line(self, name: str) -> str:
        types = ", ".join(f"{kind} ({count})" for kind, count in self.types.most_common())
        return f"  {name}: {types}; such as {', '.join(self.samples)}"


def describe(rows: Sequence[Row]) -> Iterator[str]:
    """Return lines for people: each field of the events with its types and some values."""
    fields: dict[str, _Field] = {}
    for row in rows:
        known = {
            "event": row.event,
            "distinct_id": row.distinct_id,
            "anonymous_id": row.anonymous_id,
            "session_id": row.session_id,
            "timestamp": datetime.fromtimestamp(row.timestamp / 1_000, UTC).isoformat(),
        }
        for name, value in known.items():
            if value is not None:
                fields.setdefault(name, _Field()).add(value)
        for name, value in _decode.decode(row.properties).items():
            field = fields.get(f"properties.{name}")
            if field is None:
                if len(fields) >= _MAX_FIELDS:
                    continue
                field = fields[f"properties.{name}"] = _Field()
            field.add(value)
    for name, field in fields.items():
        yield field.line(name)
