"""What all readers of untrusted JSON share."""

from typing import Any, Final, TypeAlias

import msgspec

# What decoding untrusted text raises; RecursionError stands for too many levels.
DECODE_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

# A decoded JSON value of any type. `Any`, because msgspec has no type for recursive JSON.
Json: TypeAlias = Any
