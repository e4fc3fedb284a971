"""Asks the query service what an alert measures."""

from typing import Any, Final

import httpx

from schemas.errors import Misconfigured
from schemas.settings import QUERY_PORT, Settings
from services.alerts.observe import NotMeasured
from services.keys.first import read_token

_TIMEOUT_S: Final = 30.0
_OK: Final = 300
_MAX_REASON_CHARS: Final = 300


class QueryClient:
    """A client of the query service, for one event loop; `close` it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        at = settings.query_url or f"http://{settings.local_address(QUERY_PORT)}"
        self._client = httpx.AsyncClient(
            base_url=at.rstrip("/"), timeout=_TIMEOUT_S, trust_env=False
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def __call__(
        self, project: str, path: str, body: dict[str, Any] | None = None, **parameters: str
    ) -> dict[str, Any]:
        """Return the answer to GET, or with a body to POST; raises `NotMeasured`."""
        try:
            answer = await self._client.request(
                "GET" if body is None else "POST",
                f"/api/projects/{project}/{path}",
                params=parameters,
                json=body,
                headers={"authorization": f"Bearer {self._token()}"},
            )
            answered: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise NotMeasured(f"the query service does not answer: {reason}") from None
        except Misconfigured as error:
            raise NotMeasured(str(error)) from None
        if answer.status_code < _OK:
            return answered
        message = str(answered.get("error", {}).get("message", answer.reason_phrase))
        raise NotMeasured(message[:_MAX_REASON_CHARS])

    def _token(self) -> str:
        # Read each time: `avila up` replaces the token before it expires.
        return str.__str__(self._settings.query_token) or read_token(self._settings)
