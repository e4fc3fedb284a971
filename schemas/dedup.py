"""Records of `avila.dedup`: where duplicates are recognized for less than the window.

The key is `project/partition`. A tombstone means that the whole window is covered.
"""

import msgspec

from schemas.definitions import is_id


class Coverage(msgspec.Struct, frozen=True):
    """For how long back a partition of the inbox knows the ids of a project's events."""

    covered_ms: int
    window_ms: int


def record_key(project: str, partition: int) -> bytes:
    """Return the key of a record."""
    return f"{project}/{partition}".encode()


def read_key(key: bytes) -> tuple[str, int]:
    """Return the project and the partition of a record; raises `ValueError` for another key."""
    project, _, partition = key.decode().partition("/")
    if not is_id(project):
        raise ValueError(f"{project[:80]!r} is not a project")
    return project, int(partition)
