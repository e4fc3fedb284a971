"""Regular expressions in definitions: RE2 on the stream as in ClickHouse, on the same text.

RE2 matches in time linear in the text. Its syntax has no look-around and no back-references:
https://github.com/google/re2/wiki/Syntax.
"""

from collections.abc import Callable
from typing import Final

import re2

MAX_PATTERN: Final = 200
# The pattern itself sets every flag, so that both engines read it alike: a dot matches any
# character, newlines too; case matters; `^` and `$` match at the ends of the text.
_FLAGS: Final = "(?s-imU)"
# Of a compiled pattern and its cache. It allows about 5,000 states, each of which may have to be
# visited for every byte of a text; ClickHouse allows many more.
_MAX_BYTES: Final = 1 << 18

_options: Final = re2.Options()
_options.max_mem = _MAX_BYTES
_options.never_capture = True
_options.log_errors = False


def with_flags(pattern: str) -> str:
    """Return the pattern as both engines compile it."""
    return _FLAGS + pattern


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """Return a function that tells whether a text contains a match; it never raises.

    Raises:
        ValueError: the pattern is too long, or RE2 does not accept it; says why.
    """
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"it has more than {MAX_PATTERN} characters")
    try:
        search = re2.compile(with_flags(pattern), _options).search
    except re2.error as error:
        reason = error.args[0].decode(errors="replace")
        raise ValueError(reason.replace(_FLAGS, "", 1)) from None
    # With bytes the engine need not convert the position of the match to one in the text.
    return lambda text: search(text.encode()) is not None
