"""A small identity provider: discovery, keys, codes and signed ID tokens over real HTTP."""

import base64
import contextlib
import hashlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "avila", "a secret of the client's: 50 %"  # what differs if it is form-encoded
Claims = dict[str, Any]
Sign = Callable[["IdentityProvider", Claims], str]


def new_key() -> RSAKey:
    """Return an RSA key with an id."""
    return RSAKey.generate_key(2048, {"kid": uuid.uuid4().hex[:8]}, auto_kid=False)


class IdentityProvider:
    """What a test may change: the key, the claims, how tokens are signed, and how it fails.

    `trouble` is `slow`, `large` or `down`. `asked` are the paths that were asked for.
    """

    def __init__(self, port: int) -> None:
        self.issuer = f"http://127.0.0.1:{port}"
        self.announced = self.issuer
        self.reset()

    def reset(self) -> None:
        self.key = new_key()
        self.known_keys = [self.key]
        self.claims: Claims = {}
        self.sign: Sign = signed
        self.trouble = ""
        self.announced = self.issuer
        self.released = threading.Event()
        self.asked: list[str] = []
        self._codes: dict[str, dict[str, str]] = {}

    def authorize(self, address: str, **changed: str) -> dict[str, str]:
        """Let somebody in who comes with an address; returns what is sent back."""
        query = {name: one for name, (one,) in parse_qs(urlsplit(address).query).items()}
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT
        assert query["code_challenge_method"] == "S256"
        code = uuid.uuid4().hex
        self._codes[code] = query
        return {"code": code, "state": query["state"]} | changed

    def exchange(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """Answer the token endpoint; a code counts once."""
        text = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        if text != "avila:a+secret+of+the+client%27s%3A+50+%25":
            return 401, {"error": "invalid_client"}
        query = self._codes.pop(form["code"], None)
        verifier = form["code_verifier"].encode()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier).digest()).rstrip(b"=")
        if (
            query is None
            or query["code_challenge"] != challenge.decode()
            or query["redirect_uri"] != form["redirect_uri"]
        ):
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": "ann",
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": query["nonce"],
        } | self.claims
        claims = {name: value for name, value in claims.items() if value is not None}
        return 200, {
            "access_token": "a",
            "token_type": "Bearer",
            "id_token": self.sign(self, claims),
        }

    def answer(self, path: str) -> dict[str, Any]:
        if path == "/jwks":
            return {"keys": [key.as_dict(private=False) for key in self.known_keys]}
        return {
            "issuer": self.announced,
            "authorization_endpoint": f"{self.issuer}/authorize?tenant=1",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "code_challenge_methods_supported": ["S256"],
        }


def signed(provider: IdentityProvider, claims: Claims) -> str:
    """Sign as providers do."""
    return jwt.encode({"alg": "RS256", "kid": provider.key.kid}, claims, provider.key, ["RS256"])


@contextlib.contextmanager
def running() -> Iterator[IdentityProvider]:
    """Run a provider."""

    class Handler(_Handler):
        """That of this provider alone."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider = Handler.provider = IdentityProvider(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield provider
    finally:
        provider.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    provider: IdentityProvider

    def do_GET(self) -> None:
        if self.path.startswith("/authorize"):
            self._send_back()
        else:
            self._trouble_or(lambda: (200, self.provider.answer(self.path)))

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        form = {name: one for name, (one,) in parse_qs(self.rfile.read(length).decode()).items()}
        authorization = self.headers.get("authorization", "")
        self._trouble_or(lambda: self.provider.exchange(form, authorization))

    def _send_back(self) -> None:
        """Let a browser in at once."""
        query = parse_qs(urlsplit(self.path).query)
        sent = urlencode(self.provider.authorize(self.path))
        self.send_response(302)
        self.send_header("Location", f"{query['redirect_uri'][0]}?{sent}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _trouble_or(self, answer: Callable[[], tuple[int, dict[str, Any]]]) -> None:
        provider = self.provider
        provider.asked.append(self.path)
        match provider.trouble:
            case "slow":
                provider.released.wait(60)
                status, body = 200, b"{}"
            case "large":
                status, body = 200, b'{"issuer": "' + 10_000_000 * b"x" + b'"}'
            case "down":
                status, body = 503, b""
            case _:
                status, told = answer()
                body = json.dumps(told).encode()
        with contextlib.suppress(OSError):  # who asks may have left
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the library's name)
        pass
