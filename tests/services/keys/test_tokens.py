"""What a query token may do: decided without a broker or a clock."""

from typing import Any

import pytest

from schemas.errors import Forbidden, Unauthorized
from schemas.keys import QueryToken, Scope, digest_of, mint_token
from services.keys.tokens import authorize
from services.keys.view import Change, Keys
from tests.credentials import KEY, TOKEN, query_token, write_key

NOW_MS = 1_790_000_000_000


def asked(
    authorization: str = f"Bearer {TOKEN}",
    scope: Scope = "read",
    project: str = "shop",
    *,
    token: QueryToken | None = None,
) -> None:
    keys = Keys()
    stand: list[Any] = [token or query_token(), write_key(), write_key("ours_not_by_prefix")]
    keys.apply([Change(one.project_id, one.kind, one.id, one) for one in stand])
    authorize(keys, authorization, scope, project, NOW_MS)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
def test_a_token_is_good_for_what_it_is_for(scheme: str) -> None:
    asked(f"{scheme} {TOKEN}")
    asked(scope="write")
    asked(token=query_token(project="shop", scopes=("read",), expires_at=NOW_MS + 1))


@pytest.mark.parametrize(
    ("authorization", "why"),
    [
        ("", "a query token is required"),
        ("Bearer", "a query token is required"),
        pytest.param(f"Basic {TOKEN}", "a query token is required", id="another scheme"),
        (f"Bearer {KEY}", "this is a write key"),
        ("Bearer awk_unknown", "this is a write key"),
        ("Bearer ours_not_by_prefix", "this is a write key"),
        pytest.param(f"Bearer {mint_token()}", "unknown or was revoked", id="unknown"),
        pytest.param(f"Bearer {digest_of(TOKEN)}", "unknown or was revoked", id="a digest"),
        ("Bearer \xff", "unknown or was revoked"),
    ],
)
def test_what_is_no_token_is_refused_with_what_to_do(authorization: str, why: str) -> None:
    with pytest.raises(Unauthorized, match=why) as refusal:
        asked(authorization)

    assert not isinstance(refusal.value, Forbidden)
    assert "avila tokens create" in str(refusal.value)


def test_a_token_ends_on_its_day_and_says_which_it_was() -> None:
    with pytest.raises(Unauthorized, match="expired on 2026-09-21"):
        asked(token=query_token(expires_at=NOW_MS))


def test_a_token_is_not_good_for_what_it_is_not_for() -> None:
    with pytest.raises(Forbidden, match="for project other"):
        asked(token=query_token(project="other"))
    with pytest.raises(Forbidden, match="has no scope `write`, only read"):
        asked(scope="write", token=query_token(scopes=("read",)))
    with pytest.raises(Forbidden, match="has no scope `read`, only write") as refusal:
        asked(token=query_token(scopes=("write",)))
    both = "`avila tokens create --project shop --scope read --scope write`"
    assert str(refusal.value).endswith(both)


def test_half_a_digest_that_is_right_is_not_enough() -> None:
    real = query_token()
    forged = query_token(mint_token())

    with pytest.raises(Unauthorized, match="unknown"):
        asked(
            token=QueryToken(
                project_id="*",
                id=real.id,
                digest=real.digest[:16] + forged.digest[16:],
                scopes=("read",),
                created_at=0,
                expires_at=real.expires_at,
            )
        )
