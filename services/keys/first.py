"""The keys of the first run, so that a system on one machine can be used at once."""

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
from services.keys.admin import KeyAdmin, at_desk

FIRST_PROJECT: Final = "default"
_RENEW_BEFORE_MS: Final = 30 * 86_400_000


def token_file(settings: Settings) -> Path:
    """Where the token of this machine's user is kept: its owner may read it, nobody else."""
    return settings.data_dir / "query-token"


def read_token(settings: Settings) -> str:
    """Return the token that `avila up` has made on this machine.

    Raises:
        Misconfigured: there is none.
    """
    try:
        return token_file(settings).read_text("utf-8").strip()
    except OSError as error:
        raise Misconfigured(
            f"there is no query token in {token_file(settings)} ({error.strerror}): `avila up` "
            "makes one"
        ) from error


def ensure_first_keys(settings: Settings, say: Callable[[str], None]) -> None:
    """Make what a system needs to be used at once, as far as it is missing, and say what it is.

    That is a write key of the project `default`, and a query token for all projects, which is kept
    in `token_file` and made anew when it is good for less than a month. The token is said when it
    is made, and never again. Blocks, for up to half a minute if Kafka is slow; may be called again.

    Raises:
        Unavailable: Kafka does not answer.
    """
    for line in at_desk(settings, lambda desk: _ensure(desk, settings)):
        say(line)


async def _ensure(desk: KeyAdmin, settings: Settings) -> list[str]:
    keys = desk.keys.write_keys.values()
    key = next((key for key in keys if key.project_id == FIRST_PROJECT), None)
    if key is None:
        key = await desk.create_write_key(FIRST_PROJECT, name="made by avila up")
    lines = [f"write key of project {FIRST_PROJECT}: {key.id}"]
    if not _is_good(desk, settings):
        token, _ = await desk.create_token(
            ALL_PROJECTS, ("read", "write"), days=MAX_TOKEN_DAYS, name="made by avila up"
        )
        _keep(token_file(settings), token)
        lines.append(f"query token, shown this once: {token}")
    return [*lines, f"query token kept in {token_file(settings)}"]


def _is_good(desk: KeyAdmin, settings: Settings) -> bool:
    with contextlib.suppress(Misconfigured):
        token = desk.keys.find_token(read_token(settings))
        return token is not None and token.expires_at > _now_ms() + _RENEW_BEFORE_MS
    return False


def _keep(file: Path, token: str) -> None:
    """Write the token to a file that only its owner may ever have read."""
    file.parent.mkdir(parents=True, exist_ok=True)
    number, written = tempfile.mkstemp(dir=file.parent, prefix=f"{file.name}.")  # of mode 0600
    with os.fdopen(number, "w", encoding="utf-8") as out:
        out.write(f"{token}\n")
    Path(written).replace(file)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
