"""What a kernel's machine code depends on is found in its sources."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.columnar import kernel_sources

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    path
    for path in (*ROOT.glob("pipelines/**/*.py"), *ROOT.glob("services/ingest/**/*.py"))
    if "\n@kernel" in path.read_text()
)


def imported(module: Path) -> Iterator[Path]:
    """Yield the modules of ours that a module imports itself, by the parser of Python."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            names = [f"{node.module}", *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            path = ROOT.joinpath(*name.split("."))
            yield from filter(Path.is_file, (path.with_suffix(".py"), path / "__init__.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_kernel_depends_on_every_module_that_its_own_imports(module: Path) -> None:
    depends_on = kernel_sources.with_imported(module)
    assert module in depends_on
    for one in depends_on:
        assert depends_on >= set(imported(one))


def test_a_kernel_is_compiled_again_when_a_constant_that_it_imports_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_sources, "_ROOT", tmp_path)
    package = tmp_path / "rooms"
    package.mkdir()
    kernel, between, constant, other = (package / f"{name}.py" for name in "kbco")
    kernel.write_text("from rooms import (\n    b,  # (of ours)\n)\nimport numpy\n")
    between.write_text("def late():\n    from rooms.c import ONE\n    return ONE\n")
    constant.write_text("ONE = 1\n")
    other.write_text("import rooms.k\n")

    def digest() -> str:
        for cached in (kernel_sources.digest_of, kernel_sources._imported_by):
            cached.cache_clear()
        kernel_sources._code_of.cache_clear()
        return kernel_sources.digest_of(kernel)

    first = digest()
    other.write_text("import rooms.c\n")
    assert digest() == first
    constant.write_text("ONE = 2\n")
    assert digest() != first
