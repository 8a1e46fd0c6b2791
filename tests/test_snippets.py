"""Does every example in README.md and docs/ do what it says?

The ```python and ```console blocks of a page are run one after the other, in one folder, against one broker that the
page has to itself.

- `mqtt://localhost` and paho's `hostname="127.0.0.1"` get the port of that broker written behind them, and so do
  `tidewire pub` and its sisters and Mosquitto's, as `-p PORT`. `tidewire serve` takes any free port, and 127.0.0.1 for
  0.0.0.0. `tidewire bench` measures for a moment only, and of what it prints each number stands for any,
  and what limited it for whatever did.
- What stands in a ```text block right behind it, in a comment `<!-- prints: … -->`, or in a console block below its
  commands, is all that a terminal shows; `…` stands for anything within a line. `<!-- prints -->` before a ```text
  block binds it to the last block, whatever lies between.
- `<!-- background -->` before a block: it is started, runs until the end of the page once its SUBSCRIBE has reached the
  broker, and then has to end on Ctrl-C without a traceback; `^C` stands before what it prints after that.
  `<!-- background: text -->`: it is ready when it says that.
- A python block with `def test_` is run by pytest, and has the broker of its fixture. One that awaits outside of a
  function is put into one, as `python -m asyncio` does.
- `make` is asked what it would do (`make -n`). A toml block is read as a configuration of the broker.
- `<!-- not run: reason -->` before a block leaves it out; how many there may be stands below.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.snippets import PART, ROOT, RUN, blocks, check
from tidewire.server.config import ConfigError

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

SHOWN = {"text", "json"}
"""Of these there is nothing to run."""

NOT_RUN_MAXIMUM = 1


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [page for page in PAGES if RUN & {block.language for block in blocks(page)}], ids=name)
def test_a_page_does_what_it_shows(page: Path, tmp_path: Path) -> None:
    if "$ mosquitto_" in page.read_text(encoding="utf-8") and shutil.which("mosquitto_pub") is None:
        pytest.skip("mosquitto_pub is not installed; on Debian: apt install mosquitto-clients")
    check(page, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_has_no_block_that_nobody_checks(page: Path) -> None:
    strange = [f"{block} is ```{block.language}" for block in blocks(page) if block.language not in RUN | SHOWN]
    assert not strange, f"{strange}: write one of {sorted(RUN | SHOWN)}"
    unseen = PART.sub("", page.read_text(encoding="utf-8"))
    assert "```" not in unseen, "a block that is indented, or does not end"


def test_hardly_any_block_is_left_out() -> None:
    left_out = [f"{block}: {block.not_run}" for page in PAGES for block in blocks(page) if block.not_run]
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
        (SUBSCRIBER, "shows a traceback"),
    ],
    ids=["output", "console output", "status", "test", "configuration", "Ctrl-C"],
)
def test_a_page_that_is_wrong_is_found_out(text: str, complaint: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises((AssertionError, ConfigError), match=complaint):
        check(page, tmp_path)
