"""Does the documentation build into a site that is whole, and needs nothing from elsewhere?"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cached_property
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

import tidewire

ROOT: Final = Path(__file__).parent.parent
DOCS: Final = ROOT / "docs"

LOADED: Final = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
"""What a browser fetches to show a page, and where it says so."""

NOT_FETCHED: Final = {"canonical", "next", "prev", "alternate", "edit"}
"""Kinds of `<link>` that only tell."""

ELSEWHERE: Final = re.compile(r"(https?:)?//")

NOBODY: Final = "http://127.0.0.1:9"
"""The proxy of a build that may not need the network: whatever it asks for fails."""


class Page(HTMLParser):
    """What one page loads, where it leads, and what in it can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.menu: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        self.anchors.add(said.get("id", ""))
        if tag in LOADED and not (tag == "link" and said.get("rel") in NOT_FETCHED):
            self.loaded.append(said.get(LOADED[tag], ""))
        if tag == "a" and "md-nav__link" in said.get("class", "").split():
            self.menu.append(said.get("href", ""))


class Site:
    """The site as it was built."""

    def __init__(self, folder: Path, printed: str) -> None:
        self.folder = folder
        self.printed = printed

    @cached_property
    def pages(self) -> dict[str, Page]:
        return {str(path.relative_to(self.folder)): Page(path) for path in sorted(self.folder.rglob("*.html"))}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Built as `make site` builds it, without a network."""
    missing = [name for name in ("mkdocs", "material", "mkdocstrings") if find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)}: not installed; pip install mkdocs-material 'mkdocstrings[python]'")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"} | dict.fromkeys(("http_proxy", "https_proxy"), NOBODY),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Site(folder, done.stderr)


def test_the_site_builds_without_a_warning(site: Site) -> None:
    assert "WARNING" not in site.printed
    assert "index.html" in site.pages


def test_no_page_loads_anything_from_elsewhere(site: Site) -> None:
    found = [f"{name}: {url}" for name, page in site.pages.items() for url in page.loaded if ELSEWHERE.match(url)]
    assert not found
    for style in site.folder.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.search(r"""(@import\s*|url\(\s*)["']?(https?:)?//""", text), style


def test_the_menu_leads_to_every_page(site: Site) -> None:
    for path in DOCS.rglob("*.md"):
        page = path.relative_to(DOCS).with_name("index.html" if path.stem == "README" else f"{path.stem}.html")
        assert str(page) in site.pages["index.html"].menu, f"mkdocs.yml: nav does not have {path.relative_to(DOCS)}"


def test_the_menu_leads_nowhere_else(site: Site) -> None:
    menu = [target for target in site.pages["index.html"].menu if not target.startswith("#")]
    assert len(menu) > len(list(DOCS.glob("*.md")))
    assert not [target for target in menu if not (site.folder / target).is_file()]


def test_the_reference_has_every_public_name(site: Site) -> None:
    anchors = {anchor for name, page in site.pages.items() if name.startswith("reference/") for anchor in page.anchors}
    public = {name for name in tidewire.__all__ if name != "__version__"} | {"sync.Client", "testing.BrokerThread"}
    assert not sorted(name for name in public if f"tidewire.{name}" not in anchors)


def test_a_file_that_a_page_names_is_in_the_site(site: Site) -> None:
    for name in ("index.html", "ARCHITECTURE.html", "benchmarks/results/latest.html", "examples/small/home.py.html"):
        assert f"repository/{name}" in site.pages
