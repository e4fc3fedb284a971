"""Keys and tokens for tests."""

from typing import Any

from schemas.keys import (
    Definition,
    QueryToken,
    WriteKey,
    digest_of,
    encode,
    mint_token,
    record_key,
    token_id,
)
from schemas.settings import Settings
from tests.kafka import Record, produce

KEY = "awk_of_default"
SHOP_KEY = "awk_of_shop"
TOKEN = mint_token()
NEVER = 1 << 52


def write_key(key: str = KEY, project: str = "default", **fields: Any) -> WriteKey:
    """Return the record of a write key."""
    return WriteKey(project_id=project, id=key, created_at=0, **fields)


def query_token(text: str = TOKEN, project: str = "*", **fields: Any) -> QueryToken:
    """Return the record of a token with all scopes, except for `fields`."""
    digest = digest_of(text)
    may: dict[str, Any] = {"scopes": ("read", "write"), "expires_at": NEVER} | fields
    return QueryToken(project_id=project, id=token_id(digest), digest=digest, created_at=0, **may)


def put(settings: Settings, *definitions: Definition) -> None:
    """Write definitions straight to their topic."""
    produce(
        settings.cluster,
        settings.topics.definitions.name,
        [Record(encode(one), record_key(one)) for one in definitions],
    )


def put_keys(settings: Settings) -> None:
    """Write the keys of the projects `default` and `shop`."""
    put(settings, write_key(), write_key(SHOP_KEY, "shop"))


def bearer(text: str) -> dict[str, str]:
    """The header that shows a key or a token."""
    return {"Authorization": f"Bearer {text}"}
