"""The errors of the whole system, named by what their receiver must do.

The text is part of the contract: it says what was wrong, in which field, and what is accepted. Any
other exception is a defect, and stops the process in which it occurs.
"""


class AvilaError(Exception):
    """Base of all errors raised on purpose; `code` is a stable name that clients may match on."""

    code = "error"


class InvalidRequest(AvilaError):
    """Fix the request: repeating it unchanged fails again.

    `field` is the path of the offending value (`steps[2].event`), or `""` for the whole input;
    `reason` is the message without the field.
    """

    code = "invalid"

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.reason = message


class InvalidRecord(AvilaError):
    """Send the record to the dead-letter topic with `reason` and `detail`: a retry fails again."""

    code = "invalid_record"

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class NotFound(AvilaError):
    """Create what the request names, or correct the name: it does not exist."""

    code = "not_found"


class Conflict(AvilaError):
    """Read the resource again, then decide: it has changed, or exists already."""

    code = "conflict"


class Unauthorized(AvilaError):
    """Send valid credentials."""

    code = "unauthorized"


class Forbidden(Unauthorized):
    """Send other credentials: these are valid but do not allow the request."""

    code = "forbidden"


class BackOff(AvilaError):
    """Try again after `retry_after` seconds: nothing is wrong with the request."""

    code = "back_off"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OverLimit(BackOff):
    """Send less, or get the limit raised: the sender has used up a rate or a quota."""

    code = "over_limit"


class Unavailable(AvilaError):
    """Try later: a dependency does not answer, and the request may or may not have taken effect."""

    code = "unavailable"


class Misconfigured(AvilaError):
    """Stop and correct the configuration: a setting, a port, or a topic unlike its declaration."""

    code = "misconfigured"
