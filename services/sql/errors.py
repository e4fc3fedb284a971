"""What SQL is refused with."""

from typing import Final

from schemas.errors import InvalidRequest

FIELD: Final = "sql"


class Refused(InvalidRequest):
    """SQL that is not allowed, or cannot be parsed; the message says what, and where if known.

    `at` is the offset in `text` of what is refused.
    """

    def __init__(self, why: str, text: str = "", at: int | None = None) -> None:
        self.why = why
        self.at = at
        super().__init__(why if at is None else f"{_place(text, at)}: {why}", FIELD)


def _place(text: str, at: int) -> str:
    before = text[:at]
    return f"line {before.count(chr(10)) + 1}, column {at - before.rfind(chr(10))}"
