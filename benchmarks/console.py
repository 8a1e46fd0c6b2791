"""What does an open page cost the broker? The same steady load with none, and with each page open in Chromium, in turn.

    export PYTHONPATH=build/compiled:.
    .venv/bin/python -P -m benchmarks.console --repeats 5

The broker has a core of its own; publishers and Chromium share the other. First messages come at a fixed rate, and what
is compared is the broker's processor time. Then the broker gets as many as it can pass on, and what is compared is how
many those are. There a browser that is busy would take from the load generator, as no browser on another machine does:
it gets only what the generator leaves of the core (SCHED_IDLE), and the updates that it shows are counted.
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
from tempfile import TemporaryDirectory
from typing import Any, Final

import click

from benchmarks.brokers import OUTPUT, TIDEWIRE_COMMAND, Broker, Running, find_brokers, serving
from benchmarks.scenarios import Throughput

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


SATURATED: Final = tuple(Throughput("pair", 1, 1, 1, qos, 64) for qos in (0, 1))
"""What the broker can pass on at most, from one publisher to one subscriber."""


@dataclass(frozen=True)
class Passed:
    """One run of as many messages as the broker can pass on."""

    work: str
    page: str
    deliveries_per_s: float
    broker_cpu_us_per_delivery: float
    updates_per_s: float
    """That the page has got meanwhile."""


@click.command(help=__doc__)
@click.option("--repeats", default=5, show_default=True)
@click.option("--seconds", default=5.0, show_default=True)
@click.option(
    "--part", type=click.Choice(["steady", "saturated"]), help="This alone; of the other, what was measured last."
)
def main(repeats: int, seconds: float, part: str | None) -> None:
    directory = Path("build") / "bench-console"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    with serving(_with_page(find_brokers(TIDEWIRE_COMMAND)[0]), directory.resolve(), PATIENCE_S, PATIENCE_S) as broker:
        url = _address(directory / OUTPUT)
        measured: dict[str, Any] = {"repeats": repeats, "seconds": seconds}
        if part != "saturated":
            measured["figures"] = summary(_steady(broker, url, repeats, seconds))
        if part != "steady":
            measured["saturated"] = summary_of_passed(_saturated(broker, url, repeats, seconds))
    before = json.loads(RESULT.read_text(encoding="utf-8")) if part is not None else {}
    RESULT.write_text(json.dumps(before | measured, indent=1) + "\n", encoding="utf-8")
    figures, ratios = measured.get("figures", []), measured.get("saturated", [])
    for row in figures:
        click.echo(f"{row['load']:45}{row['page']:10}{row['broker_cpu_share']:8.2%}{row['page_cpu_share']:+8.2%}")
    for row in ratios:
        click.echo(
            f"{row['work']:45}{row['page']:10}{row['deliveries_per_s']:12,.0f}{row['rate_ratio']:8.3f}"
            f"{row['cpu_ratio']:8.3f}{row['updates_per_s']:8.1f}"
        )


def _steady(broker: Running, url: str, repeats: int, seconds: float) -> list[Measured]:
    runs = []
    with _browser(url) as look:
        for load in LOADS:
            with _publishing(broker, load):
                for _, (page, path) in product(range(repeats), PAGES.items()):
                    look(path)
                    look.wait(SETTLE_S)
                    runs.append(_measure(broker, load, page, look, seconds))
                    click.echo(f"{runs[-1]}", err=True)
    return runs


def _saturated(broker: Running, url: str, repeats: int, seconds: float) -> list[Passed]:
    runs = []
    with _browser(url, _WITH_WHAT_IS_LEFT) as look:
        for work in SATURATED:
            for _, (page, path) in product(range(repeats), PAGES.items()):
                look(path)
                look.wait(SETTLE_S)
                updates = look.updates()
                began = time.monotonic()
                found = work.run(broker, seconds)
                passed = time.monotonic() - began
                updates = look.updates() - updates
                runs.append(
                    Passed(
                        work.title,
                        page,
                        found["deliveries_per_s"],
                        found["broker_cpu_us_per_delivery"],
                        updates / passed,
                    )
                )
                click.echo(f"{runs[-1]}", err=True)
    return runs


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


def summary_of_passed(runs: list[Passed]) -> list[dict[str, Any]]:
    """Medians of each work and page, and their ratios to no page in the same turn."""
    rows = []
    for work in dict.fromkeys(run.work for run in runs):
        bare = [run for run in runs if (run.work, run.page) == (work, "none")]
        for page in dict.fromkeys(run.page for run in runs):
            mine = [run for run in runs if (run.work, run.page) == (work, page)]
            turns = list(zip(mine, bare, strict=True))
            rows.append(
                {
                    "work": work,
                    "page": page,
                    "deliveries_per_s": median(run.deliveries_per_s for run in mine),
                    "rate_ratio": median(run.deliveries_per_s / other.deliveries_per_s for run, other in turns),
                    "cpu_ratio": median(
                        run.broker_cpu_us_per_delivery / other.broker_cpu_us_per_delivery for run, other in turns
                    ),
                    "updates_per_s": median(run.updates_per_s for run in mine),
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


_AT_ONCE: Final = "exec"
_WITH_WHAT_IS_LEFT: Final = "echo 19 > /proc/self/autogroup; exec chrt --idle 0"
"""Linux shares a core among sessions first, and the browser has one of its own."""


class _Look:
    """Opens a page of the console, and leaves the last one; waits while it lives."""

    def __init__(self, page: Any, url: str) -> None:
        self._page = page
        self._url = url

    def __call__(self, path: str) -> None:
        self._page.goto(self._url + path if path else "about:blank")
        if path:
            self._page.get_by_role("heading", level=1).wait_for()
            self._page.evaluate("window.updates = 0; window.socket.onAny(() => window.updates++)")

    def updates(self) -> int:
        """What the page has got from the broker since it was opened."""
        return int(self._page.evaluate("window.updates || 0"))

    def wait(self, seconds: float) -> None:
        self._page.wait_for_timeout(seconds * 1000)


@contextmanager
def _browser(url: str, start: str = _AT_ONCE) -> Iterator[_Look]:
    """Chromium."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 (an extra of development)

    with TemporaryDirectory() as directory, sync_playwright() as playwright:
        script = Path(directory) / "browser"
        script.write_text(f'#!/bin/sh\n{start} {shutil.which("chromium")} "$@"\n')
        script.chmod(0o755)
        browser = playwright.chromium.launch(executable_path=script, args=["--no-sandbox"])
        yield _Look(browser.new_page(), url)
        browser.close()


if __name__ == "__main__":
    main()
