"""Programs in Go, fetched at pinned versions and built once, into the user's cache."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from services.broker import cache_home

VEGETA: Final = "v12.13.0"
_WITHIN_S: Final = 1_800.0


class Missing(Exception):
    """The program cannot be fetched or built; the text says why."""


def vegeta() -> Path:
    """Return the path of vegeta, the load generator for HTTP. Blocks on the network the first time.

    Raises:
        Missing: there is no Go, or Go's proxy does not answer.
    """
    directory = cache_home() / "avila" / f"vegeta-{VEGETA}"
    if not (directory / "vegeta").exists():
        _go(Path.cwd(), "install", f"github.com/tsenart/vegeta/v12@{VEGETA}", GOBIN=str(directory))
    return directory / "vegeta"


def build(module: Path) -> Path:
    """Build the program of a module of ours. Go caches what has not changed.

    Raises:
        Missing: there is no Go, or Go's proxy does not answer.
    """
    program = cache_home() / "avila" / "rivals" / module.name
    _go(module, "build", "-mod=readonly", "-o", str(program), ".")
    return program


def _go(directory: Path, *arguments: str, **environment: str) -> None:
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        raise Missing("there is no Go here")
    # The Go that is here, with no compiler of C, and with no settings of some other module.
    environment |= {"GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}
    try:
        subprocess.run(
            [go, *arguments],
            cwd=directory,
            env=os.environ | environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=_WITHIN_S,
        )
    except subprocess.CalledProcessError as error:
        why = error.stderr.strip().splitlines()[-1:]
        raise Missing(f"go {arguments[0]} failed: {' '.join(why)}") from error
    except subprocess.TimeoutExpired as error:
        raise Missing(f"go {arguments[0]} took more than {_WITHIN_S:.0f} s") from error
