"""Keys and tokens that tests use, and how they come to stand in a deployment."""

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
    """A write key as it stands on its topic."""
    return WriteKey(project_id=project, id=key, created_at=0, **fields)


def query_token(text: str = TOKEN, project: str = "*", **fields: Any) -> QueryToken:
    """What stands on the topic of a token that may do everything, but for `fields`."""
    digest = digest_of(text)
    may: dict[str, Any] = {"scopes": ("read", "write"), "expires_at": NEVER} | fields
    return QueryToken(project_id=project, id=token_id(digest), digest=digest, created_at=0, **may)


def put(settings: Settings, *definitions: Definition) -> None:
    """Have them stand, without the desk."""
    produce(
        settings.bootstrap,
        settings.topics.definitions.name,
        [Record(encode(one), record_key(one)) for one in definitions],
    )


def put_keys(settings: Settings) -> None:
    """Have the projects `default` and `shop` have their write keys."""
    put(settings, write_key(), write_key(SHOP_KEY, "shop"))


def bearer(text: str) -> dict[str, str]:
    """The header that shows a key or a token."""
    return {"Authorization": f"Bearer {text}"}
