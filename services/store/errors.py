"""ClickHouse's errors: their numbers, their texts and their HTTP statuses."""

import re
from enum import IntEnum
from typing import Final


class Code(IntEnum):
    """The errors that this service raises itself; all others come from the engine."""

    BAD_ARGUMENTS = 36
    TOO_LARGE_SIZE_COMPRESSED = 19
    CHECKSUM_DOESNT_MATCH = 40
    UNKNOWN_FUNCTION = 46
    NOT_IMPLEMENTED = 48
    SYNTAX_ERROR = 62
    UNKNOWN_TABLE = 60
    UNKNOWN_FORMAT = 73
    UNKNOWN_DATABASE = 81
    UNKNOWN_COMPRESSION_METHOD = 89
    UNKNOWN_SETTING = 115
    READONLY = 164
    TOO_MANY_SIMULTANEOUS_QUERIES = 202
    SOCKET_TIMEOUT = 209
    QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING = 216
    QUERY_IS_TOO_LARGE = 223
    CANNOT_DECOMPRESS = 271
    SUPPORT_IS_DISABLED = 344
    INTO_OUTFILE_NOT_ALLOWED = 358
    SESSION_IS_LOCKED = 373
    QUERY_WAS_CANCELLED = 394
    TOO_MANY_ROWS_OR_BYTES = 396
    UNKNOWN_QUERY_PARAMETER = 456
    ACCESS_DENIED = 497
    UNKNOWN_ROLE = 511
    AUTHENTICATION_FAILED = 516
    UNKNOWN_EXCEPTION = 1002


_STATUSES: Final = {
    code: status
    for status, codes in {
        # access denied, failed authentication, a role that is not granted
        403: (192, 193, 497, 512, Code.AUTHENTICATION_FAILED),
        # unparsable text, columns and types that do not match, trees that are too deep or too big
        400: (
            *(6, 8, 15, 16, 25, 26, 27, 36, 38, 41, 42, 43, 44, 53, 62, 69, 70, 71, 72, 117, 120),
            *(167, 168, 184, 427, 441, 456, 457, 675, 676),
            *(Code.UNKNOWN_COMPRESSION_METHOD, Code.CANNOT_DECOMPRESS),
            *(Code.CHECKSUM_DOESNT_MATCH, Code.TOO_LARGE_SIZE_COMPRESSED),
            *(Code.INTO_OUTFILE_NOT_ALLOWED, Code.SUPPORT_IS_DISABLED),
        ),
        # an unknown table, function, column, type, engine, database, setting or format
        404: (46, 47, 50, 56, 60, 63, 64, 73, 78, 81, 83, 115, Code.UNKNOWN_ROLE),
        408: (159,),
        413: (Code.QUERY_IS_TOO_LARGE,),
        501: (Code.NOT_IMPLEMENTED,),
        # A server answers 500 to the last one; 503 tells a client to retry.
        503: (76, 209, 439, Code.TOO_MANY_SIMULTANEOUS_QUERIES),
    }.items()
    for code in codes
}

# Errors that the engine raises while it reads malformed rows. A server answers some of them with
# 500; we answer 400, since only the sender can correct them and a proxy should not retry.
_UNREADABLE_DATA: Final = {3, 10, 20, 32, 33, 101, 108, 128, 131, 246, 636, 1001}

_CODE: Final = re.compile(r"^(?:Streaming query failed: )?Code: (\d+)\. (?:DB::Exception: )?")
_VERSION: Final = re.compile(r" \(version [\d.]+\)\.?")
_NAME: Final = re.compile(r"\(([A-Z][A-Z0-9_]+)\)\s*$")
_DESCRIPTOR: Final = re.compile(r"\(in file/uri /dev/fd/\d+\): ?")
_FROM_FILE: Final = ": While executing File: data for INSERT was parsed from file"


class StoreError(Exception):
    """A request that ends with ClickHouse's error `code`; `text` is the body of the response."""

    def __init__(self, code: int, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.code = int(code)
        self.status = status if status is not None else _STATUSES.get(code, 500)
        name = f" ({code.name})" if isinstance(code, Code) else ""
        self.text = f"Code: {self.code}. DB::Exception: {message}{name}"


def engine_error(text: str, *, inserting: bool = False) -> StoreError:
    """Parse the engine's error text. `inserting` means that it was reading the client's rows.

    When an error crosses the engine's inner client, its prefix, name and version are repeated and
    the internal file is mentioned; all that is removed.
    """
    code, message = int(Code.UNKNOWN_EXCEPTION), text.strip()
    while match := _CODE.match(message):
        code, message = int(match[1]), message[match.end() :]
    message = _DESCRIPTOR.sub("", _VERSION.sub("", message)).replace(_FROM_FILE, "").rstrip(". ")
    if name := _NAME.search(message):
        said = message[: name.start()].replace(name[0], "").rstrip(". ")
        message = f"{said}. {name[0]}"
    return StoreError(code, message, 400 if inserting and code in _UNREADABLE_DATA else None)
