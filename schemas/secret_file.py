"""Secrets that a system with brokers of its own keeps in its data directory."""

import contextlib
import hashlib
import os
import secrets
from pathlib import Path
from typing import Final

from schemas.errors import Misconfigured

_BYTES: Final = 32


def read_secret(file: Path) -> bytes:
    """Return the secret of a file, 32 bytes; make the file with a new one if it does not exist.

    Raises:
        Misconfigured: the file cannot be read or made.
    """
    try:
        if not file.exists():
            _make(file)
        text = file.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        raise Misconfigured(f"the secret in {file} cannot be read or made: {error}") from error
    return hashlib.sha256(text.encode()).digest()


def _make(file: Path) -> None:
    """Make the file with a new secret, whole or not at all; another process may be first."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w") as written:
            written.write(secrets.token_hex(_BYTES))
            written.flush()
            os.fsync(written.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(new, file)
    finally:
        new.unlink(missing_ok=True)
