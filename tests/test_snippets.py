"""Does every example in README.md and docs/ do what it says?

The ```python, ```console and ```java blocks of a page are run one after the other, in one folder, against one broker
that the page has to itself.

- `mqtt://localhost`, paho's `hostname="localhost"` and `connect("localhost", 1883)` and HiveMQ's `serverHost` get the
  port of that broker written behind them, and so do `tidewire pub` and its sisters and Mosquitto's, as `-p PORT`.
  `tidewire serve` takes any free port, and 127.0.0.1 for 0.0.0.0; what it says that it serves is found from then on, by
  TLS, over HTTP and at `-h broker.example`. `tidewire bench` measures for a moment only. Of what it, `overhead`,
  `serve --console`, `make vehicle` and `make surf` print each number stands for any, and what limited it too.
- What stands in a ```text block right behind it, in a comment `<!-- prints: … -->`, or in a console block below its
  commands, is all that a terminal shows; `…` stands for anything within a line, and alone for any lines.
  `<!-- prints -->` before a ```text block binds it to the last block, whatever lies between.
- `<!-- background -->` before a block: it is started, runs until the end of the page once its SUBSCRIBE has reached the
  broker, and then has to end on Ctrl-C without a traceback; `^C` stands before what it prints after that.
  `<!-- background: text -->`: it is ready when it says that.
- A block within a comment is run as well: what readers are spared, and the next block needs.
- A python block with `def test_` is run by pytest, and has the broker of its fixture. One that awaits outside of a
  function is put into one, as `python -m asyncio` does. One of Java is put into a class, with HiveMQ's client at hand.
- `make vehicle` and `make surf` are run; else `make` is asked what it would do (`make -n`).
- A toml block is read as a configuration of the broker; xml, yaml and each line of json, by their parsers.
- `<!-- from: FILE -->` before a block: it stands in that file, white space aside. `<!-- run by: FILE -->`: that test
  reads the page, and runs the block.
- `<!-- not run: reason -->` before a block leaves it out; how many there may be stands below.
- A block for which a tool is not installed is left out, and the page then counts as skipped, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.snippets import PART, ROOT, RUN, Block, blocks, check
from tidewire.server.config import ConfigError

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

NOT_RUN_MAXIMUM = 0

AT_ONCE = 3
"""Pages that are checked at a time: most of it is waiting for programs to start."""


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def wanting(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[Path, Future[list[str]]]]:
    """What `check` says of each page that was asked for."""
    asked = [item for item in request.session.items if "wanting" in getattr(item, "fixturenames", ())]
    pages: list[Path] = [item.callspec.params["page"] for item in asked]  # type: ignore[attr-defined]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {page: pool.submit(check, page, tmp_path_factory.mktemp(page.stem)) for page in pages}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("page", [page for page in PAGES if RUN & {block.language for block in blocks(page)}], ids=name)
def test_a_page_does_what_it_shows(page: Path, wanting: Mapping[Path, Future[list[str]]]) -> None:
    if left_out := wanting[page].result():
        pytest.skip(f"not run, but all else: {', '.join(left_out)}")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_has_no_block_that_nobody_checks(page: Path) -> None:
    strange = [f"{block} is ```{block.language}" for block in blocks(page) if block.language not in {*RUN, "text"}]
    assert not strange, f"{strange}: write one of {sorted(RUN)}"
    unseen = PART.sub("", page.read_text(encoding="utf-8"))
    assert "```" not in unseen and "\n\n    " not in unseen, "a block that is indented, or does not end"


@pytest.mark.parametrize("block", [block for page in PAGES for block in blocks(page) if block.run_by], ids=str)
def test_whoever_runs_a_block_reads_its_page(block: Block) -> None:
    assert re.search(rf"[/\"]{block.page.name}\b", (ROOT / block.run_by).read_text(encoding="utf-8"))


def test_hardly_any_block_is_left_out() -> None:
    left_out = [
        f"{block}: {block.not_run or 'nobody prints it'}"
        for page in PAGES
        for block in blocks(page)
        if block.not_run or (block.language == "text" and not block.run_by)
    ]
    assert len(left_out) <= NOT_RUN_MAXIMUM, left_out


SUBSCRIBER = """\
<!-- background -->
```python
import asyncio

from tidewire import Client

async def main():
    async with Client("mqtt://localhost") as client, client.subscribe("a") as stream:
        async for message in stream:
            print(message.text())

asyncio.run(main())
```
"""


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```python\nprint(1)\n```\n\n```text\n2\n```\n", "should print\n2\n"),
        ("```console\n$ echo 1\n2\n```\n", "should print\n2\n"),
        ("```console\n$ false\n$ true\n```\n", "ended with status 1"),
        ("```python\ndef test_one(broker):\n    assert broker.received\n```\n", "ended with status 1"),
        ("```toml\n[limits]\nkeep_alive = 1\n```\n", "does not exist"),
        ("```json\n{}\n{\n```\n", "Expecting property name"),
        ("```xml\n<a></b>\n```\n", "mismatched tag"),
        ("```yaml\na: [\n```\n", "did not find expected node content"),
        ("<!-- from: setup.py -->\n```python\nnowhere\n```\n", "does not stand in setup.py"),
        (SUBSCRIBER, "shows a traceback"),
    ],
    ids=["output", "console output", "status", "test", "configuration", "JSON", "XML", "YAML", "excerpt", "Ctrl-C"],
)
def test_a_page_that_is_wrong_is_found_out(text: str, complaint: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises((AssertionError, ConfigError, SyntaxError, ValueError), match=complaint):
        check(page, tmp_path)
