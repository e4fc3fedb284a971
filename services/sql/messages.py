"""Messages of ClickHouse without the statement that ran, which is not the one that was received.

ClickHouse also adds its version and its address. Whoever asks has no use for any of them.
"""

import re
from typing import Final

MAX_CHARS: Final = 500
# Where a message begins to quote the statement, or what is around it.
_QUOTED: Final = re.compile(
    r"(?i)[:,.]? (?:in scope|in query|while executing|while processing|SELECT) "
    r"|\. Maybe you meant| \(version | \(for url |\.? Expected one of: "
)
# The name of the error, which is the last word in capitals in brackets.
_NAME: Final = re.compile(
    r"\([A-Z][A-Z0-9]*_[A-Z0-9_]+\)(?!.*\([A-Z][A-Z0-9]*_[A-Z0-9_]+\))", re.DOTALL
)


def without_statement(message: str) -> str:
    """Return the beginning of a message, up to the statement, and the name of the error."""
    reason = " ".join(_QUOTED.split(message, maxsplit=1)[0].split())[:MAX_CHARS]
    name = _NAME.search(message)
    return reason if name is None or name[0] in reason else f"{reason} {name[0]}"
