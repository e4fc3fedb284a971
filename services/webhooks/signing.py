"""Signatures of webhooks, as Standard Webhooks defines them. Pure."""

import base64
import hmac
from collections.abc import Sequence


def signature_headers(
    message_id: str, body: bytes, secrets: Sequence[bytes], now_s: int
) -> dict[str, str]:
    """Return the headers of a request: its id, its time, and a signature for each secret."""
    content = f"{message_id}.{now_s}.".encode() + body
    signatures = (hmac.digest(secret, content, "sha256") for secret in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(now_s),
        "webhook-signature": " ".join(
            f"v1,{base64.b64encode(signature).decode()}" for signature in signatures
        ),
    }
