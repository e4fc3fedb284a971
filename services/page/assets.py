"""Serve the built page from memory: one document, and files whose names change with their content.

The document is asked for again each time, so that a new version is seen at once; the files are kept
by browsers for a year. The page may load from its own origin alone, and nothing of it is inline.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

BUILT: Final = Path(__file__).parent / "built"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
_NO_FRAME: Final = "frame-ancestors 'none'"
_SAFETY: Final = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Vary": "Accept-Encoding",
}
_TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".woff2": "font/woff2",
}


class File(NamedTuple):
    """A file of the page, as it is and gzipped."""

    media_type: str
    plain: bytes
    packed: bytes


class Page:
    """Answers `/` and what is below `/assets`; 404 says how to build a page that is not built."""

    def __init__(self, built: Path = BUILT) -> None:
        self._built = built

    async def index(self, request: Request) -> Response:
        """Answer with the document."""
        return _respond(self._find("index.html"), request.headers, "no-cache")

    def framed(self, request: Request, ancestors: Sequence[str]) -> Response:
        """Answer with the document, which the pages of these origins may show in a frame."""
        answer = _respond(self._find("index.html"), request.headers, "no-cache")
        if ancestors:
            allowed = f"frame-ancestors {' '.join(ancestors)}"
            answer.headers["Content-Security-Policy"] = POLICY.replace(_NO_FRAME, allowed)
            # A frame on another site may be embedded there by this header only.
            answer.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        return answer

    async def asset(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a file: an ASGI application, mounted at `/assets`."""
        if scope["type"] != "http" or scope["method"] not in {"GET", "HEAD"}:
            raise HTTPException(405 if scope["type"] == "http" else 404)
        name = scope["path"].removeprefix(f"{scope['root_path']}/")
        file = self._find("LICENCES.txt" if name == "LICENCES.txt" else f"assets/{name}")
        age = "no-cache" if name == "LICENCES.txt" else "public, max-age=31536000, immutable"
        await _respond(file, Headers(scope=scope), age)(scope, receive, send)

    def _find(self, name: str) -> File:
        files = _read(self._built)
        if not files:
            raise HTTPException(404, "the page is not built: run `make page`")
        if name not in files:
            raise HTTPException(404, "there is no such file")
        return files[name]


@cache
def _read(built: Path) -> dict[str, File]:
    """Return the files by their paths; none if the page is not built."""
    return {
        path.relative_to(built).as_posix(): File(
            _TYPES[path.suffix], path.read_bytes(), path.with_name(f"{path.name}.gz").read_bytes()
        )
        for path in built.rglob("*")
        if path.is_file() and path.suffix != ".gz"
    }


def _respond(file: File, headers: Headers, age: str) -> Response:
    packed = "gzip" in headers.get("accept-encoding", "")
    encoding = {"Content-Encoding": "gzip"} if packed else {}
    return Response(
        file.packed if packed else file.plain,
        headers={**_SAFETY, **encoding, "Cache-Control": age},
        media_type=file.media_type,
    )
