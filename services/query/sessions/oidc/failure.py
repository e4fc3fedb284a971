"""Why signing in at the provider failed, for the person and for the log."""

from typing import Literal

# The page has a sentence for each.
Failure = Literal[
    "provider_away", "provider_wrong", "expired", "refused", "untrusted", "no_access", "too_many"
]


class SignInFailed(Exception):
    """Show `failure` on the page; `reason` is for the log, and quotes no secret."""

    def __init__(self, failure: Failure, reason: str) -> None:
        super().__init__(reason)
        self.failure: Failure = failure
        self.reason = reason

    def again(self) -> "SignInFailed":
        """Return the same failure for another person."""
        return SignInFailed(self.failure, self.reason)
