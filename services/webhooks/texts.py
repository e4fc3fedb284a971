"""What a message says to people: one line, and the lines of an e-mail. Pure."""

from typing import Any, Final

import msgspec

from schemas.notices.delivery import Message

_MAX_CHARS: Final = 1_000
# Fields that the line says already, or that say nothing to people.
_HIDDEN: Final = {"project_id", "text", "contributions", "too_large"}


class _Body(msgspec.Struct):
    timestamp: str
    data: dict[str, Any]


def line_of(message: Message) -> str:
    """Return a message as one line."""
    data = _read(message).data
    text = data.get("text")
    if isinstance(text, str) and text:
        return _one_line(text)
    kind = message.type.partition(".")[0]
    about = data.get(f"{kind}_id") or data.get("prediction_id") or data.get("subscription_id")
    parts = [message.type, f"of {about}" if about else "", _person(data)]
    return _one_line(" ".join(filter(None, parts)))


def lines_of(message: Message) -> list[str]:
    """Return a message as the lines of an e-mail."""
    body = _read(message)
    shown = [
        f"{name}: {_one_line(str(value))}"
        for name, value in body.data.items()
        if value is not None and name not in _HIDDEN and not isinstance(value, list | dict)
    ]
    return [line_of(message), "", f"type: {message.type}", f"time: {body.timestamp}", *shown]


def slack_body(message: Message) -> bytes:
    """Return the body of a request to an incoming webhook of Slack."""
    text = line_of(message)
    for character, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, escaped)
    return msgspec.json.encode({"text": text})


def _read(message: Message) -> _Body:
    return msgspec.json.decode(message.body, type=_Body)


def _person(data: dict[str, Any]) -> str:
    person = data.get("person_id")
    return "" if person is None else f"by {person}"


def _one_line(text: str) -> str:
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return line if len(line) <= _MAX_CHARS else f"{line[:_MAX_CHARS]}…"
