"""`python -m benchmarks`, or `make bench`: run the scenarios on every broker that is here, and write the report."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, process_time
from typing import Final

import click

from benchmarks.brokers import TIDEWIRE_COMMAND, Broker, Running, find_brokers, machine_cpu_s, running
from benchmarks.load import closed_loop
from benchmarks.load.clients import BrokerFailed
from benchmarks.report import Cell, write_report
from benchmarks.scenarios import Scenario, all_scenarios

REPEATS: Final = 3
SECONDS: Final = 0.4
QUICK_SECONDS: Final = 0.25
PATIENCE_S: Final = 8.0  # a broker that needs longer for a run, set-up and drain included, is not asked again


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="One short run of each, 64-byte payloads only: about a minute.")
@click.option(
    "--only", default="", metavar="KEY,…", help="Scenarios by key or by how it begins: pair,fan-out,latency-qos0."
)
@click.option(
    "--brokers", "names", default="", metavar="NAME,…", help="Of tidewire, mosquitto, flashmq, nanomq, amqtt."
)
@click.option(
    "--tidewire", "command", default=TIDEWIRE_COMMAND, metavar="CMD", help="How to start it, with {config} or {port}."
)
@click.option(
    "--repeats", type=click.IntRange(1), help=f"Runs of each, of which the median counts. [default: {REPEATS}]"
)
@click.option("--seconds", type=click.FloatRange(0.05), help=f"Time that a run is measured. [default: {SECONDS}]")
@click.option("--list", "only_list", is_flag=True, help="Say which scenarios and brokers there are.")
@click.option(
    "--results", type=click.Path(path_type=Path, file_okay=False), default=Path("benchmarks/results"), show_default=True
)
def main(
    *,
    quick: bool,
    only: str,
    names: str,
    command: str,
    repeats: int | None,
    seconds: float | None,
    only_list: bool,
    results: Path,
) -> None:
    """Measure Tidewire beside the brokers that are installed here, on the same work in one run."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as an exception, so that the brokers are ended too
    scenarios = choose_scenarios(quick, only)
    brokers = choose_brokers(command, names)
    if only_list:
        click.echo("\n".join([*(f"{scenario.key:26}{scenario.title}" for scenario in scenarios), ""]))
        click.echo("\n".join(f"{broker.name} {broker.version}" for broker in brokers))
        return
    if closed_loop.__file__.endswith(".py"):
        click.echo("benchmarks: the load generator is not compiled; it may be the limit", err=True)
    repeats = repeats or (1 if quick else REPEATS)
    seconds = seconds or (QUICK_SECONDS if quick else SECONDS)
    cells: dict[tuple[str, str], Cell] = {}
    for scenario in scenarios:
        for broker, cell in measure(scenario, brokers, repeats, seconds).items():
            cells[scenario.key, broker] = cell
            click.echo(f"{scenario.key:22} {broker:10} {one_line(cell)}", err=True)
    write_report(results, scenarios, brokers, cells)
    click.echo(f"benchmarks: wrote {results}/latest.md, .json and .svg", err=True)


def choose_scenarios(quick: bool, only: str) -> list[Scenario]:
    keys = [key for key in only.split(",") if key]
    chosen = [
        scenario
        for scenario in all_scenarios()
        if (not keys or any(scenario.key == key or scenario.key.startswith(f"{key}-") for key in keys))
        and not (quick and scenario.key.endswith("-1024"))
    ]
    if not chosen:
        raise click.BadParameter(f"no scenario is called {only}; --list shows them", param_hint="--only")
    return chosen


def choose_brokers(command: str, names: str) -> list[Broker]:
    found = {broker.name: broker for broker in find_brokers(command)}
    chosen = [name for name in names.split(",") if name] or list(found)
    missing = [name for name in chosen if name not in found]
    if missing:
        raise click.BadParameter(f"not installed: {', '.join(missing)}", param_hint="--brokers")
    return [found[name] for name in chosen]


def measure(scenario: Scenario, brokers: list[Broker], repeats: int, seconds: float) -> dict[str, Cell]:
    """Run `scenario` on each broker in turn, `repeats` times; a broker lives through its runs and then ends.

    After a run that failed a broker is started anew; after two it has failed the scenario. One that is very slow
    runs once.
    """
    cells = {broker.name: Cell() for broker in brokers}
    slow = {broker.name: False for broker in brokers}
    with ExitStack() as stack:
        alive: dict[str, tuple[ExitStack, Running]] = {}
        for _ in range(repeats):
            for broker in brokers:
                cell = cells[broker.name]
                if len(cell.failures) > 1 or slow[broker.name]:
                    continue
                started = monotonic()
                try:
                    if scenario.needs_fresh_broker and broker.name in alive:
                        alive.pop(broker.name)[0].close()
                    if broker.name not in alive:
                        own = stack.enter_context(ExitStack())
                        alive[broker.name] = own, own.enter_context(running(broker))
                    cell.runs.append(run(scenario, alive[broker.name][1], seconds))
                except (BrokerFailed, OSError) as error:
                    cell.failures.append(str(error) or repr(error))
                    if broker.name in alive:
                        alive.pop(broker.name)[0].close()
                slow[broker.name] = monotonic() - started > PATIENCE_S
    return cells


def run(scenario: Scenario, broker: Running, seconds: float) -> dict[str, float]:
    """The scenario's figures, and how much of a core others used meanwhile: what disturbed it."""
    before = monotonic(), machine_cpu_s() - broker.cpu_s() - process_time()
    figures = scenario.run(broker, seconds)
    after = monotonic(), machine_cpu_s() - broker.cpu_s() - process_time()
    return figures | {"others_cpu_share": max(0.0, (after[1] - before[1]) / (after[0] - before[0]))}


def one_line(cell: Cell) -> str:
    figures = " ".join(f"{name}={value:.4g}" for name, value in cell.medians().items())
    return " ".join([figures, *(f"FAILED: {text}" for text in cell.failures)])


if __name__ == "__main__":
    sys.exit(main())
