"""The errors of the whole system, named by what their receiver must do.

Text is part of the contract: what was wrong, which field, what is accepted. Anything that is not
one of these is a defect of ours, and stops the process that met it.
"""


class AvilaError(Exception):
    """Root of all errors raised on purpose; `code` is the stable name that clients may match on."""

    code = "error"


class InvalidRequest(AvilaError):
    """Fix the request: repeating it unchanged fails again.

    `field` is the path of the offending value (`steps[2].event`), `""` for the whole input;
    `reason` is the message without it.
    """

    code = "invalid"

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.reason = message


class InvalidRecord(AvilaError):
    """Dead-letter the record with `reason` and `detail`: no retry makes it readable."""

    code = "invalid_record"

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class NotFound(AvilaError):
    """The thing named does not exist; create it or correct the name."""

    code = "not_found"


class Conflict(AvilaError):
    """The thing has changed or exists already: read it again, then decide."""

    code = "conflict"


class Unauthorized(AvilaError):
    """Send valid credentials."""

    code = "unauthorized"


class Forbidden(Unauthorized):
    """Send other credentials: these are valid, but not for this."""

    code = "forbidden"


class BackOff(AvilaError):
    """Try again after `retry_after` seconds: nothing is wrong with the request."""

    code = "back_off"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OverLimit(BackOff):
    """Send less, or have the limit raised: a rate or a quota of the sender's is used up."""

    code = "over_limit"


class Unavailable(AvilaError):
    """A part this depends on does not answer; what was sent may or may not have taken effect."""

    code = "unavailable"


class Misconfigured(AvilaError):
    """Stop and mend the set-up: a setting, a port, a topic that differs from its declaration."""

    code = "misconfigured"
