"""What does the site show beside docs/? Every file of the repository that a page links to, under `repository/`.

A hook of MkDocs (mkdocs.yml). Links in docs/ are those of a checkout, `../tests/test_form.py`, so that they work on a
code host as well. Here each such file becomes a page, and the links are turned to it: the site needs no code host.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parent.parent
DOCS: Final = "docs/"
REPOSITORY: Final = "repository/"

LINK: Final = re.compile(r"(?<=\]\()(?![a-z]+:|[/#])([^)\s#]+)(?=[#)])")
"""The path of a link to a file; what follows #, if there is one, stays as it is."""

PICTURES: Final = {".svg", ".png"}
LANGUAGES: Final = {".py": "python", ".toml": "toml", ".json": "json", ".yml": "yaml", ".c": "c", ".sh": "bash"}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add what the pages link to, and what is linked to from there."""
    waiting = [DOCS + file.src_uri for file in files.documentation_pages()]
    seen = set(waiting)
    while waiting:
        page = waiting.pop()
        for target in dict.fromkeys(_targets(page)):
            if target in seen or target.startswith(DOCS):
                continue
            seen.add(target)
            files.append(_file(target, config))
            if target.endswith(".md"):
                waiting.append(target)
            elif (ROOT / target).is_dir():
                seen.update(_listed(target))
                for name in _listed(target):
                    files.append(_file(name, config))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository to pages of the site."""
    here = page.file.src_uri
    source = here.removeprefix(REPOSITORY) if here.startswith(REPOSITORY) else DOCS + here

    def turned(link: re.Match[str]) -> str:
        target = _resolved(source, link.group(1))
        return posixpath.relpath(_uri(target), posixpath.dirname(here)) if target else link.group(1)

    return LINK.sub(turned, markdown)


def _targets(page: str) -> Iterator[str]:
    """The files of the repository that a page links to."""
    for link in LINK.finditer((ROOT / page).read_text(encoding="utf-8")):
        if target := _resolved(page, link.group(1)):
            yield target


def _resolved(page: str, link: str) -> str | None:
    """Which file of the repository is meant, if there is one; else MkDocs has to complain."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    return target if not target.startswith("..") and (ROOT / target).exists() else None


def _listed(directory: str) -> list[str]:
    """The sources in a directory."""
    return sorted(f"{directory}/{path.name}" for path in (ROOT / directory).iterdir() if path.suffix in LANGUAGES)


def _uri(target: str) -> str:
    """Where a file of the repository is in the site."""
    if target.startswith(DOCS):
        return target.removeprefix(DOCS)
    if (ROOT / target).is_dir():
        return f"{REPOSITORY}{target}/index.md"
    shown = target.endswith(".md") or Path(target).suffix in PICTURES
    return f"{REPOSITORY}{target}{'' if shown else '.md'}"


def _file(target: str, config: MkDocsConfig) -> File:
    """A file of the repository as one of the site."""
    uri = _uri(target)
    path = ROOT / target
    if uri == REPOSITORY + target:
        return File.generated(config, uri, abs_src_path=str(path), inclusion=InclusionLevel.NOT_IN_NAV)
    if path.is_dir():
        content = "".join(f"- [{Path(name).name}]({Path(name).name}.md)\n" for name in _listed(target))
    else:
        content = f"~~~~ {{.{LANGUAGES.get(path.suffix, 'text')}}}\n{path.read_text(encoding='utf-8')}~~~~\n"
    return File.generated(config, uri, content=f"# {target}\n\n{content}", inclusion=InclusionLevel.NOT_IN_NAV)
