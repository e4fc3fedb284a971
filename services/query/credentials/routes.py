"""The routes of write keys and query tokens, and their descriptions."""

from typing import Final

from services.query.credentials.resource import Credentials
from services.query.credentials.response import (
    NewToken,
    NewTokenResponse,
    NewWriteKey,
    TokenListResponse,
    TokenResponse,
    WriteKeyListResponse,
    WriteKeyResponse,
)
from services.query.http.describe import json_response, operation
from services.query.http.routes import ApiRoute, RouteGroup

_REVOKED: Final = {"204": {"description": "Revoked: it is refused everywhere within a second"}}

CREDENTIAL_ROUTES: Final = RouteGroup(
    (
        ApiRoute(
            "GET",
            "/write-keys",
            Credentials.list_keys,
            operation(
                "listWriteKeys",
                "The write keys of a project, to an administrator",
                {"200": json_response(WriteKeyListResponse)},
            ),
            "ListWriteKeys",
            scope="admin",
        ),
        ApiRoute(
            "POST",
            "/write-keys",
            Credentials.create_key,
            operation(
                "createWriteKey",
                "Make a write key",
                {"201": json_response(WriteKeyResponse)},
                *(409, 413),
                body="NewWriteKey",
            ),
            "CreateWriteKey",
            scope="admin",
        ),
        ApiRoute(
            "DELETE",
            "/write-keys/{id}",
            Credentials.revoke_key,
            operation("revokeWriteKey", "Revoke a write key", _REVOKED, 404),
            "RevokeWriteKey",
            scope="admin",
        ),
        ApiRoute(
            "GET",
            "/tokens",
            Credentials.list_tokens,
            operation(
                "listTokens",
                "The query tokens that open a project, to an administrator",
                {"200": json_response(TokenListResponse)},
            ),
            "ListTokens",
            scope="admin",
        ),
        ApiRoute(
            "POST",
            "/tokens",
            Credentials.create_token,
            operation(
                "createToken",
                "Make a query token, whose text is in this answer alone",
                {"201": json_response(NewTokenResponse)},
                *(409, 413),
                body="NewToken",
            ),
            "CreateToken",
            scope="admin",
        ),
        ApiRoute(
            "DELETE",
            "/tokens/{id}",
            Credentials.revoke_token,
            operation("revokeToken", "Revoke a query token, and end its sessions", _REVOKED, 404),
            "RevokeToken",
            scope="admin",
        ),
    ),
    (
        NewWriteKey,
        WriteKeyResponse,
        WriteKeyListResponse,
        NewToken,
        NewTokenResponse,
        TokenResponse,
        TokenListResponse,
    ),
)
