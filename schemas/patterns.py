"""Regular expressions of definitions: RE2 here, and RE2 in ClickHouse, on the same text.

RE2 takes time that grows with the text alone. Its dialect knows no look-around and no
back-references: https://github.com/google/re2/wiki/Syntax.
"""

from collections.abc import Callable
from typing import Final

import re2

MAX_PATTERN: Final = 200
# Every flag is set in the text itself, so that it means the same to whoever compiles it: a dot is
# any character, newlines too; case matters; `^` and `$` are the ends of the text.
_FLAGS: Final = "(?s-imU)"
# Of a compiled pattern and what it remembers. This allows some five thousand states, each of which
# may have to be looked at for every byte of a text; ClickHouse allows many more.
_MAX_BYTES: Final = 1 << 18

_options: Final = re2.Options()
_options.max_mem = _MAX_BYTES
_options.never_capture = True
_options.log_errors = False


def with_flags(pattern: str) -> str:
    """Return the text that both engines compile."""
    return _FLAGS + pattern


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """Return a test of whether a text has a match of `pattern` anywhere; it never raises.

    Raises:
        ValueError: it is too long, or none that RE2 accepts; says why.
    """
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"it has more than {MAX_PATTERN} characters")
    try:
        search = re2.compile(with_flags(pattern), _options).search
    except re2.error as error:
        reason = error.args[0].decode(errors="replace")
        raise ValueError(reason.replace(_FLAGS, "", 1)) from None
    # Given bytes, the engine need not work out where in the text the match would be.
    return lambda text: search(text.encode()) is not None
