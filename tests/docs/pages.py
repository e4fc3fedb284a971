"""The pages of the documentation, and the examples in them."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "schemas").glob("*.md"),
        *(page for page in (ROOT / "services").rglob("*.md") if "node_modules" not in page.parts),
    ]
)
_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_PATH: Final = re.compile(
    r"`((?:pipelines|schemas|services|sinks|tests|benchmarks|docs)/[\w./{},*<>-]*)`"
)
_EXTERNAL: Final = ("http://", "https://", "mailto:")


def name_of(page: Path) -> str:
    """The page's path below the repository, as tests are named by it."""
    return str(page.relative_to(ROOT))


def script_of(page: Path) -> str:
    """The shell examples of a page, one after the other as a reader would type them."""
    blocks = _FENCE.findall(page.read_text())
    return "\n".join(code for language, code in blocks if language == "sh")


def links_of(page: Path) -> list[str]:
    """The links of a page that lead to files of the repository."""
    found = _LINK.findall(_FENCE.sub("", page.read_text()))
    return [link for link in found if not link.startswith(_EXTERNAL)]


def paths_of(page: Path) -> list[str]:
    """The paths of the repository that a page names; those with a placeholder are left out."""
    return [path for path in _PATH.findall(page.read_text()) if not set(path) & set("{<*")]


def anchors_of(page: Path) -> set[str]:
    """What links to a page's headings say behind `#`."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }
