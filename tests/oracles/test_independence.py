"""Oracles share no code with what they judge."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

MODULES = sorted(
    path for path in Path(__file__).parent.glob("*.py") if not path.name.startswith("test_")
)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_an_oracle_imports_the_standard_library_alone(module: Path) -> None:
    for name in imported(ast.parse(module.read_text("utf-8"))):
        root = name.partition(".")[0]
        assert root in sys.stdlib_module_names or name.startswith("tests.oracles"), name


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
