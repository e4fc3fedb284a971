"""Who asks: the one place where a `distinct_id` becomes a person.

A person's id is the `distinct_id` that events are stored with. Once identities are linked, this
module is what looks the person up.
"""

import hashlib
import secrets
from typing import Final

from schemas.errors import InvalidRequest
from schemas.json_text import Json
from services.ingest.formats.posthog_event import bounded_id
from services.ingest.formats.reading import id_as_text

# Of the process, so that nobody can choose ids whose hashes collide.
_SECRET: Final = secrets.token_bytes(16)


def person_of(distinct_id: Json) -> str:
    """Return the id of the person that events with this `distinct_id` are stored under.

    Raises:
        InvalidRequest: it is missing, or cannot be an id.
    """
    text = id_as_text(distinct_id, "distinct_id")
    if not text:
        raise InvalidRequest("is missing", "distinct_id")
    return bounded_id(text, "distinct_id")[0]


def person_hash(person: bytes) -> int:
    """Return 64 bits that stand for a person in this process.

    Of n members of a segment, one has the hash of a given other person with a probability of
    n / 2^64: five in ten trillion for ten million members.
    """
    digest = hashlib.blake2b(person, digest_size=8, key=_SECRET).digest()
    return int.from_bytes(digest, "little")
