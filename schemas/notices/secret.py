"""The secrets that sign webhooks.

Each is derived from one secret of the deployment, so that none is on any topic. That one is the
setting `AVILA_WEBHOOK_KEY`, or, of a system with brokers of its own, a file in its data directory.
The query service, which shows the secrets, and the notifier, which signs, must have the same.
"""

import base64
import hashlib
import hmac
from typing import Final

from schemas.errors import Misconfigured
from schemas.notices.subscription import SubscriptionDefinition
from schemas.secret_file import read_secret
from schemas.settings import Settings

PREFIX: Final = "whsec_"
_FILE: Final = "webhook-key"


def webhook_key(settings: Settings) -> bytes:
    """Return the deployment's secret, 32 bytes.

    Raises:
        Misconfigured: the cluster is not ours, and no setting gives one; or the file cannot be
            read or made.
    """
    if settings.webhook_key:
        return hashlib.sha256(str.__str__(settings.webhook_key).encode()).digest()
    if settings.kafka_bootstrap:
        raise Misconfigured(
            "AVILA_WEBHOOK_KEY is not set: webhooks are signed with secrets derived from it"
        )
    return read_secret(settings.data_dir / _FILE)


def secrets_of(key: bytes, definition: SubscriptionDefinition, now_ms: int) -> list[bytes]:
    """Return the secrets that sign now: the newest, and for a while the one before it."""
    numbers = [definition.secret_number]
    if definition.secret_number > 1 and now_ms < definition.rotated_until:
        numbers.append(definition.secret_number - 1)
    return [_derive(key, definition, number) for number in numbers]


def secret_text(secret: bytes) -> str:
    """Return a secret as its owner keeps it."""
    return PREFIX + base64.b64encode(secret).decode()


def _derive(key: bytes, definition: SubscriptionDefinition, number: int) -> bytes:
    # One that is deleted and created again has other secrets.
    name = f"{definition.project_id}/{definition.id}/{definition.created_at}/{number}"
    return hmac.digest(key, f"avila.webhooks/{name}".encode(), "sha256")
