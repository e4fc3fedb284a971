"""What a kernel's machine code depends on: its own module and all that this module imports.

Other kernels are inlined into a kernel, and the constants and types that its module imports are
part of its machine code, too.
"""

import re
from collections.abc import Iterator
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Final

# The directory that holds `pipelines`, `services` and `schemas`.
_ROOT: Final = Path(__file__).parents[2]

# Parsing the modules would take a second of each start. What only looks like an import, in a
# docstring, does no harm.
_COMMENT: Final = re.compile(rb"#.*")
_IMPORT: Final = re.compile(
    rb"^\s*(?:from\s+([\w.]+)\s+import\s+(\([^)]*\)|[^\n(]+)|import\s+([^\n]+))", re.MULTILINE
)
_NAME: Final = re.compile(rb"[\w.]+")


@cache
def digest_of(module: Path) -> str:
    """Return what differs if the module, or one that it imports directly or not, does.

    A package's `__init__` counts where something is imported from it, not where it merely lies on
    the way to a module.
    """
    digest = blake2b(digest_size=8)
    for path in sorted(with_imported(module)):
        digest.update(_code_of(path))
    return digest.hexdigest()


def with_imported(module: Path) -> set[Path]:
    """Return a module and all modules of ours that it imports, directly or not."""
    found = {module}
    waiting = [module]
    while waiting:
        new = _imported_by(waiting.pop()) - found
        found |= new
        waiting.extend(new)
    return found


@cache
def _imported_by(module: Path) -> frozenset[Path]:
    """Return the modules of ours that a module itself imports."""
    return frozenset(
        path
        for name in _names_imported(_COMMENT.sub(b"", _code_of(module)))
        for path in _files_named(name)
        if path.is_file()
    )


def _names_imported(code: bytes) -> Iterator[str]:
    """Yield the full names that may be modules: of `from a import b`, both `a` and `a.b`."""
    for package, names, modules in _IMPORT.findall(code):
        for name in _NAME.findall(names or modules):
            yield (package + b"." + name if package else name).decode()
        if package:
            yield package.decode()


def _files_named(name: str) -> tuple[Path, Path]:
    """Return the files that a module's name may stand for."""
    path = _ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py"), path / "__init__.py"


@cache
def _code_of(path: Path) -> bytes:
    return path.read_bytes()
