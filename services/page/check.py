"""Check the page's sources against the API: `make types` runs it.

The types of requests and responses are generated from our OpenAPI document, so a field that is
renamed there is an error here.
"""

import subprocess
import sys
from pathlib import Path

import msgspec

from services.page import build
from services.query.openapi import document


def check() -> None:
    """Generate the types of the API, then check the types of the sources.

    Raises:
        subprocess.CalledProcessError: something is wrong, and has been printed.
    """
    build.install(build.PAGE)
    generate(msgspec.json.encode(document()), build.PAGE)
    check_types(build.PAGE)


def check_types(page: Path) -> None:
    """Check the sources below `page` by the types that `generate` has written there.

    Raises:
        subprocess.CalledProcessError: they differ, and where has been printed.
    """
    build.node(build.MODULES / "typescript/bin/tsc", "--noEmit", "--project", str(page))


def generate(described: bytes, page: Path) -> None:
    """Write `source/openapi.d.ts` from an OpenAPI document."""
    source = page / "source/openapi.json"
    source.write_bytes(described)
    try:
        build.node(
            build.MODULES / "openapi-typescript/bin/cli.js",
            str(source),
            "--output",
            str(page / "source/openapi.d.ts"),
            "--default-non-nullable=false",
            "--silent",
        )
    finally:
        source.unlink()


if __name__ == "__main__":
    try:
        check()
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
