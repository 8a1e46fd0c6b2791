"""What does an open page cost the broker? The same steady load with none, and with each page open in Chromium, in turn.

    export PYTHONPATH=build/compiled:.
    .venv/bin/python -P -m benchmarks.console --repeats 5

The broker has a core of its own; publishers and Chromium share the other. A closed loop would not do: a browser that is
busy takes from the load generator, and a broker that gets its messages in smaller reads needs more time for each. So
messages come at a fixed rate, and what is compared is the broker's processor time. A broker that has all of a core in
use has so much less of it for messages.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, Final

import click

from benchmarks.brokers import OUTPUT, TIDEWIRE_COMMAND, Broker, Running, find_brokers, serving

RESULT: Final = Path(__file__).parent / "results" / "console.json"
PAGES: Final = {"none": "", "overview": "/", "topics": "/topics", "clients": "/clients"}
SETTLE_S: Final = 3.0
"""Until a page has all that it shows at first."""
PATIENCE_S: Final = 30.0


@dataclass(frozen=True)
class Load:
    """Messages at a steady rate."""

    name: str
    rate: int
    topics: int
    qos: int


LOADS: Final = (
    Load("50 000 a second over 10 000 topics, QoS 0", 50_000, 10_000, 0),
    Load("300 000 a second on one topic, QoS 0", 300_000, 1, 0),
    Load("50 000 a second over 100 topics, QoS 1", 50_000, 100, 1),
)


@dataclass(frozen=True)
class Measured:
    """One run."""

    load: str
    page: str
    messages_per_s: float
    broker_cpu_share: float
    """Of a core."""


@click.command(help=__doc__)
@click.option("--repeats", default=5, show_default=True)
@click.option("--seconds", default=5.0, show_default=True)
def main(repeats: int, seconds: float) -> None:
    runs: list[Measured] = []
    directory = Path("build") / "bench-console"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    with (
        serving(_with_page(find_brokers(TIDEWIRE_COMMAND)[0]), directory.resolve(), PATIENCE_S, PATIENCE_S) as broker,
        _browser(_address(directory / OUTPUT)) as look,
    ):
        for load in LOADS:
            with _publishing(broker, load):
                for _, (page, path) in product(range(repeats), PAGES.items()):
                    look(path)
                    look.wait(SETTLE_S)
                    runs.append(_measure(broker, load, page, look, seconds))
                    click.echo(f"{runs[-1]}", err=True)
    table = summary(runs)
    about = {"repeats": repeats, "seconds": seconds, "figures": table}
    RESULT.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    for row in table:
        click.echo(f"{row['load']:45}{row['page']:10}{row['broker_cpu_share']:8.2%}{row['page_cpu_share']:+8.2%}")


def summary(runs: list[Measured]) -> list[dict[str, Any]]:
    """Medians of each load and page, and of what the page takes beside no page in the same turn."""
    rows = []
    for load in dict.fromkeys(run.load for run in runs):
        bare = [run for run in runs if (run.load, run.page) == (load, "none")]
        for page in dict.fromkeys(run.page for run in runs):
            mine = [run for run in runs if (run.load, run.page) == (load, page)]
            more = [run.broker_cpu_share - other.broker_cpu_share for run, other in zip(mine, bare, strict=True)]
            rows.append(
                {
                    "load": load,
                    "page": page,
                    "messages_per_s": median(run.messages_per_s for run in mine),
                    "broker_cpu_share": median(run.broker_cpu_share for run in mine),
                    "page_cpu_share": median(more),
                }
            )
    return rows


def _measure(broker: Running, load: Load, page: str, look: _Look, seconds: float) -> Measured:
    before = time.monotonic(), broker.cpu_s()
    look.wait(seconds)
    passed = time.monotonic() - before[0]
    return Measured(load.name, page, load.rate, (broker.cpu_s() - before[1]) / passed)


@contextmanager
def _publishing(broker: Running, load: Load) -> Iterator[None]:
    """In a process of its own, on the core of this one."""
    arguments = [broker.port, load.rate, load.topics, load.qos]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tests.console.load", *map(str, arguments)], env=dict(os.environ)
    )
    try:
        time.sleep(SETTLE_S)
        yield
        if process.poll() is not None:
            sys.exit("the publisher has ended early")
    finally:
        process.terminate()
        process.wait()


def _with_page(broker: Broker) -> Broker:
    """The same broker, serving its page on any free port."""
    return replace(
        broker, command=lambda port, path: [*broker.command(port, path), "--console-port", "0", "--log-level", "info"]
    )


def _address(output: Path) -> str:
    """Where the page is, from the broker's log."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        for line in output.read_text().splitlines():
            if "console: " in line:
                return line.rpartition("console: ")[2]
        time.sleep(0.1)
    sys.exit(f"the page did not come up; {output} may say why")


class _Look:
    """Opens a page of the console, and leaves the last one; waits while it lives."""

    def __init__(self, page: Any, url: str) -> None:
        self._page = page
        self._url = url

    def __call__(self, path: str) -> None:
        self._page.goto(self._url + path if path else "about:blank")
        if path:
            self._page.get_by_role("heading", level=1).wait_for()

    def wait(self, seconds: float) -> None:
        self._page.wait_for_timeout(seconds * 1000)


@contextmanager
def _browser(url: str) -> Iterator[_Look]:
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 (an extra of development)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield _Look(browser.new_page(), url)
        browser.close()


if __name__ == "__main__":
    main()
