"""Create the keys of a first run, so that a system on one machine can be used at once."""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from schemas.errors import Misconfigured
from schemas.keys import ALL_PROJECTS, MAX_TOKEN_DAYS
from schemas.settings import Settings
from services.keys.admin import KeyAdmin, run_with_key_admin

FIRST_PROJECT: Final = "default"
_RENEW_BEFORE_MS: Final = 30 * 86_400_000


def token_file(settings: Settings) -> Path:
    """Return the file with the query token of this machine's user; only its owner may read it."""
    return settings.data_dir / "query-token"


def read_token(settings: Settings) -> str:
    """Return the query token that `avila up` has created on this machine.

    Raises:
        Misconfigured: there is no token.
    """
    try:
        return token_file(settings).read_text("utf-8").strip()
    except OSError as error:
        raise Misconfigured(
            f"there is no query token in {token_file(settings)} ({error.strerror}): `avila up` "
            "creates one"
        ) from error


def ensure_first_keys(settings: Settings, say: Callable[[str], None]) -> None:
    """Create missing first keys, and pass lines about them to `say`.

    These are a write key of the project `default`, and a query token for all projects. The token is
    kept in `token_file` and replaced when it expires within a month; it is said only when created.
    Blocks, for up to half a minute if Kafka is slow. Calling it again changes nothing.

    Raises:
        Unavailable: Kafka does not answer.
    """
    for line in run_with_key_admin(settings, lambda admin: _ensure(admin, settings)):
        say(line)


async def _ensure(admin: KeyAdmin, settings: Settings) -> list[str]:
    keys = admin.keys.write_keys.values()
    key = next((key for key in keys if key.project_id == FIRST_PROJECT), None)
    if key is None:
        key = await admin.create_write_key(FIRST_PROJECT, name="created by avila up")
    lines = [f"write key of project {FIRST_PROJECT}: {key.id}"]
    if not _is_valid(admin, settings):
        token, _ = await admin.create_token(
            ALL_PROJECTS, ("read", "write"), days=MAX_TOKEN_DAYS, name="created by avila up"
        )
        _write_token(token_file(settings), token)
        lines.append(f"query token, shown this once: {token}")
    return [*lines, f"query token kept in {token_file(settings)}"]


def _is_valid(admin: KeyAdmin, settings: Settings) -> bool:
    with contextlib.suppress(Misconfigured):
        token = admin.keys.find_token(read_token(settings))
        return token is not None and token.expires_at > _now_ms() + _RENEW_BEFORE_MS
    return False


def _write_token(file: Path, token: str) -> None:
    """Write the token to a file that only its owner can read at any time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    number, written = tempfile.mkstemp(
        dir=file.parent, prefix=f"{file.name}."
    )  # created with mode 0600
    with os.fdopen(number, "w", encoding="utf-8") as out:
        out.write(f"{token}\n")
    Path(written).replace(file)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
