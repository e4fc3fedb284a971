"""Ask the query service, from the command line, with the answers' errors as our own."""

from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import httpx

from schemas.errors import (
    AvilaError,
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    Unauthorized,
    Unavailable,
)

_TIMEOUT_S: Final = 60.0
_ERRORS: Final[dict[int, type[AvilaError]]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
}


class Client:
    """The API of the query service at `url`, with a query token. Use it in a `with` block."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._http = httpx.Client(
            headers={"authorization": f"Bearer {token}"}, timeout=_TIMEOUT_S, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def ask(
        self,
        method: str,
        project: str,
        path: str,
        body: dict[str, Any] | None = None,
        revision: int | None = None,
    ) -> dict[str, Any]:
        """Return the answer to a request to a path of a project.

        Raises:
            NotFound, Conflict, Unauthorized, Forbidden, InvalidRequest: what the service refuses.
            Unavailable: it does not answer, or has not done it.
        """
        address = f"{self._url}/api/projects/{quote(project, safe='')}/{path}"
        headers = {} if revision is None else {"if-match": f'"{revision}"'}
        try:
            answer = self._http.request(method, address, json=body, headers=headers)
            answered: dict[str, Any] = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise Unavailable(
                f"the query service at {self._url} does not answer: {error}"
            ) from None
        if answer.is_success:
            return answered
        detail = answered.get("error", {})
        message, field = str(detail.get("message", answer.reason_phrase)), detail.get("field", "")
        if answer.status_code in {400, 413}:
            raise InvalidRequest(message.removeprefix(f"{field}: "), field)
        raise _ERRORS.get(answer.status_code, Unavailable)(message)
