"""The secret by which `avila.examples` names persons, so that a reader cannot tell who they are.

Whoever knows the ids of persons could hash them all, and find each of them. Without the secret,
hashes say only which questions and outcomes belong to one person. The secret is the setting
`AVILA_PERSON_KEY`, or, of a system with brokers of its own, a file in its data directory, which is
made when it is first needed. All workers and query services of a deployment must have the same: a
definition has the fingerprint of the secret that it began with.
"""

import hashlib
from typing import Final

from schemas.secret_file import read_secret
from schemas.settings import Settings

_FILE: Final = "person-key"


def person_key(settings: Settings) -> bytes:
    """Return the secret, 32 bytes; empty if the cluster is not ours and no setting gives one.

    Raises:
        Misconfigured: the file cannot be read or made.
    """
    if settings.person_key:
        return hashlib.sha256(str.__str__(settings.person_key).encode()).digest()
    if settings.kafka_bootstrap:
        return b""
    return read_secret(settings.data_dir / _FILE)


def fingerprint(key: bytes) -> str:
    """Return 16 digits that tell one secret from another, and nothing about it; empty of none."""
    return hashlib.blake2b(b"fingerprint", digest_size=8, key=key).hexdigest() if key else ""


def hash_key_of(key: bytes, tag: int) -> tuple[int, int]:
    """Return the two words of a SipHash key: another one for each version of a definition."""
    text = (tag % (1 << 64)).to_bytes(8, "little")
    digest = hashlib.blake2b(text, digest_size=16, key=key, person=b"avila.examples").digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
