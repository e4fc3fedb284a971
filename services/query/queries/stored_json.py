"""JSON as the event store has it, read as it was sent."""

import json
from typing import Any

from schemas.properties import sent_name


def read_stored(text: str) -> Any:
    """Return what a text of JSON says; the text itself, if it says nothing that can be shown."""
    try:
        return _as_sent(json.loads(text, parse_constant=_refuse))
    except (ValueError, RecursionError):
        return text


def _as_sent(value: Any) -> Any:
    match value:
        case dict():
            return {sent_name(key): _as_sent(of) for key, of in value.items()}
        case list():
            return [_as_sent(one) for one in value]
    return value


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
