"""What does an open page cost the broker? The same work with no page, and with each page open in Chromium, in turn.

    export PYTHONPATH=build/compiled:.
    .venv/bin/python -P -m benchmarks.console --repeats 5

The load generator and Chromium share a core, and the broker has the other. Chromium takes its share of the generator's
time also where it shows an empty page: that is the row everything else is compared with.
"""

from __future__ import annotations

import json
import shutil
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

from benchmarks.brokers import OUTPUT, TIDEWIRE_COMMAND, Broker, find_brokers, serving
from benchmarks.scenarios import all_scenarios

RESULT: Final = Path(__file__).parent / "results" / "console.json"
SCENARIOS: Final = ("pair-qos0-64", "pair-qos1-64", "fan-out-100-qos0-64")
PAGES: Final = {"none": "", "overview": "/", "topics": "/topics", "clients": "/clients"}
FIGURES: Final = ("deliveries_per_s", "broker_cpu_us_per_delivery", "broker_cpu_share")
PATIENCE_S: Final = 30.0


@dataclass(frozen=True)
class Measured:
    """One run: a scenario with a page open."""

    scenario: str
    page: str
    deliveries_per_s: float
    broker_cpu_us_per_delivery: float
    broker_cpu_share: float


@click.command(help=__doc__)
@click.option("--repeats", default=5, show_default=True)
@click.option("--seconds", default=4.0, show_default=True)
@click.option("--only", default=",".join(SCENARIOS), show_default=True)
def main(repeats: int, seconds: float, only: str) -> None:
    scenarios = {scenario.key: scenario for scenario in all_scenarios()}
    runs: list[Measured] = []
    directory = Path("build") / "bench-console"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    with (
        serving(_with_page(find_brokers(TIDEWIRE_COMMAND)[0]), directory.resolve(), PATIENCE_S, PATIENCE_S) as broker,
        _browser(_address(directory / OUTPUT)) as look,
    ):
        for _, key, (page, path) in product(range(repeats), only.split(","), PAGES.items()):
            look(path)
            figures = scenarios[key].run(broker, seconds)
            runs.append(Measured(key, page, *(figures[name] for name in FIGURES)))
            click.echo(f"{runs[-1]}", err=True)
    table = summary(runs)
    RESULT.write_text(json.dumps({"repeats": repeats, "seconds": seconds, "figures": table}, indent=1) + "\n")
    for row in table:
        click.echo(
            f"{row['scenario']:24}{row['page']:10}{row['deliveries_per_s']:12,.0f}/s {row['rate_ratio']:6.3f}"
            f"{row['broker_cpu_us_per_delivery']:9.3f} µs {row['cpu_ratio']:6.3f}"
        )


def summary(runs: list[Measured]) -> list[dict[str, Any]]:
    """Medians of each scenario and page, and their ratio to that without a page in the same turn."""
    rows = []
    for key in dict.fromkeys(run.scenario for run in runs):
        bare = [run for run in runs if (run.scenario, run.page) == (key, "none")]
        for page in dict.fromkeys(run.page for run in runs):
            mine = [run for run in runs if (run.scenario, run.page) == (key, page)]
            pairs = list(zip(mine, bare, strict=True))
            rows.append(
                {
                    "scenario": key,
                    "page": page,
                    "deliveries_per_s": median(run.deliveries_per_s for run in mine),
                    "broker_cpu_us_per_delivery": median(run.broker_cpu_us_per_delivery for run in mine),
                    "broker_cpu_share": median(run.broker_cpu_share for run in mine),
                    "rate_ratio": median(run.deliveries_per_s / other.deliveries_per_s for run, other in pairs),
                    "cpu_ratio": median(
                        run.broker_cpu_us_per_delivery / other.broker_cpu_us_per_delivery for run, other in pairs
                    ),
                }
            )
    return rows


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


@contextmanager
def _browser(url: str) -> Iterator[Any]:
    """Something that opens a page, and leaves the last one."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 (an extra of development)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()

        def look(path: str) -> None:
            page.goto(url + path if path else "about:blank")
            if path:
                page.get_by_role("heading", level=1).wait_for()

        yield look
        browser.close()


if __name__ == "__main__":
    main()
