"""Prints names and values so that they cannot end early, whatever is in them."""

import math
import re
from typing import Final

from services.sql.errors import Refused

MAX_NAME_CHARS: Final = 256
# Of names that the printer adds, which SQL may not use.
RESERVED_PREFIX: Final = "__avila"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_NUMBER: Final = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_PARAMETER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)


def identifier(name: str) -> str:
    """Return a name in backticks.

    Raises:
        Refused: the name is empty, too long, one of ours, or has control characters.
    """
    if len(name) > MAX_NAME_CHARS:
        raise Refused(f"a name has {len(name)} characters; accepted are up to {MAX_NAME_CHARS}")
    if not name or _CONTROL.search(name):
        raise Refused("a name is empty or has control characters")
    if name.lower().startswith(RESERVED_PREFIX):
        raise Refused(f"names that begin with {RESERVED_PREFIX} are reserved")
    return quoted(name)


def quoted(name: str) -> str:
    """Return any name in backticks, also one of ours."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def string(value: str) -> str:
    """Return a text in quotes."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\x00", "\\0")
    return f"'{escaped}'"


def number(text: str) -> str:
    """Return a number as it is written; raises `Refused` for what is none, or for one too large."""
    if len(text) > 400 or not _NUMBER.fullmatch(text):
        raise Refused(f"{text[:100]!r} is no number")
    if math.isinf(float(text)):
        raise Refused(f"{text[:100]!r} is too large a number")
    return text


def parameter_name(name: str) -> str:
    """Return the name of a parameter; raises `Refused` for one that is not accepted."""
    if not _PARAMETER.fullmatch(name) or name.lower().startswith(RESERVED_PREFIX):
        raise Refused(
            f"{name[:100]!r} is no name of a parameter; accepted are 1 to 64 letters, "
            "digits and `_`"
        )
    return name
