"""Signatures are those of Standard Webhooks, and secrets are derived and rotated."""

import base64
import hashlib
import hmac
from typing import Any

from schemas.notices.secret import secret_text, secrets_of
from schemas.notices.subscription import (
    Subscription,
    SubscriptionDefinition,
    WebhookDestination,
)
from services.webhooks.signing import signature_headers

HOOK = Subscription(destination=WebhookDestination(url="https://hooks.shop.example/"))


def definition(**changed: int) -> SubscriptionDefinition:
    fields: dict[str, Any] = {"version": 1, "created_at": 1, "updated_at": 1, **changed}
    return SubscriptionDefinition(project_id="shop", id="ops", subscription=HOOK, **fields)


def test_a_receiver_verifies_a_request_with_the_text_of_its_secret() -> None:
    (secret,) = secrets_of(b"k" * 32, definition(), 0)
    body = b'{"type":"test"}'
    headers = signature_headers("msg_1", body, [secret], 1_614_265_330)

    key = base64.b64decode(secret_text(secret).removeprefix("whsec_"))
    content = b".".join((b"msg_1", b"1614265330", body))
    expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    assert headers == {
        "webhook-id": "msg_1",
        "webhook-timestamp": "1614265330",
        "webhook-signature": f"v1,{expected}",
    }
    assert 24 <= len(key) <= 64


def test_the_secret_before_signs_too_until_the_overlap_is_over() -> None:
    rotated = definition(secret_number=2, rotated_until=100)
    (before,) = secrets_of(b"k" * 32, definition(), 0)
    new, old = secrets_of(b"k" * 32, rotated, 99)
    assert old == before != new
    assert secrets_of(b"k" * 32, rotated, 100) == [new]
    assert len(signature_headers("m", b"", [new, old], 0)["webhook-signature"].split(" ")) == 2


def test_secrets_differ_by_deployment_and_by_creation() -> None:
    found = {
        secrets_of(key, definition(created_at=at), 0)[0]
        for key in (b"a" * 32, b"b" * 32)
        for at in (1, 2)
    }
    assert len(found) == 4
