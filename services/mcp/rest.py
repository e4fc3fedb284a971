"""Asks the REST API of the query service with the caller's own token."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import httpx

from schemas.errors import Unavailable

_TIMEOUT_S: Final = 60.0
_OK: Final = 300


class Refused(Exception):
    """What the service refuses: its `error`, with the code, the message and perhaps the field."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(str(error.get("message", "refused")))
        self.error = dict(error)


class Ask(NamedTuple):
    """A request of a project: a GET with parameters, or a POST with a body."""

    path: tuple[str, ...]
    parameters: Mapping[str, str | int] = {}
    body: Mapping[str, Any] | None = None


class Rest:
    """The query service at an address; close it at the end."""

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")
        self._client = httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False)

    async def ask(self, project: str, token: str, ask: Ask) -> dict[str, Any]:
        """Return the answer to a request.

        Raises:
            Refused: the service refuses it.
            Unavailable: the service does not answer.
        """
        path = "/".join(_quoted(part) for part in (project, *ask.path))
        try:
            answer = await self._client.request(
                "GET" if ask.body is None else "POST",
                f"{self._address}/api/projects/{path}",
                params=dict(ask.parameters),
                json=None if ask.body is None else dict(ask.body),
                headers={"authorization": f"Bearer {token}"},
            )
            answered: dict[str, Any] = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise Unavailable(
                f"the query service at {self._address} does not answer: {error}"
            ) from None
        if answer.status_code < _OK:
            return answered
        raise Refused(answered.get("error", {}))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _quoted(part: str) -> str:
    """Return a part of a path. One that is `.` or `..`, as a person's id may be, stays a part."""
    return quote(part, safe="").replace(".", "%2E") if part in {".", ".."} else quote(part, safe="")
