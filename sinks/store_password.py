"""The password of the embedded store: generated once, and kept where its user alone reads it."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from schemas.errors import Misconfigured
from schemas.settings import Settings


def password_file(settings: Settings) -> Path:
    """Return the file with the generated password."""
    return settings.data_dir / "store-password"


def store_password(settings: Settings) -> str:
    """Return the password of the embedded store: that of the settings, or the generated one.

    The first caller generates it; several processes may call at once.

    Raises:
        Misconfigured: the file cannot be written or read.
    """
    if settings.clickhouse_password:
        return str.__str__(settings.clickhouse_password)
    file = password_file(settings)
    try:
        if not file.exists():
            _write(file, secrets.token_hex(16))
        return file.read_text("utf-8").strip()
    except OSError as error:
        raise Misconfigured(
            f"the embedded store's password cannot be kept in {file} ({error.strerror}): set "
            "AVILA_DATA_DIR to a writable directory, or AVILA_CLICKHOUSE_PASSWORD"
        ) from error


def _write(file: Path, password: str) -> None:
    """Write the password into a new file, unless another process has done so."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    number, written = tempfile.mkstemp(dir=file.parent, prefix=f"{file.name}.")  # with mode 0600
    try:
        with os.fdopen(number, "w", encoding="utf-8") as out:
            out.write(f"{password}\n")
        with contextlib.suppress(FileExistsError):
            os.link(written, file)
    finally:
        Path(written).unlink()
