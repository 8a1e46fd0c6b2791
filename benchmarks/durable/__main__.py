"""`python -m benchmarks.durable`: what durability costs Tidewire and Mosquitto, on the same work in one run."""

from __future__ import annotations

import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import click

from benchmarks.brokers import Broker
from benchmarks.durable.brokers import PROMISES, durable_brokers
from benchmarks.durable.report import Row, disk_of, write_report
from benchmarks.durable.work import EARNEST, QUICK, Work, all_work
from benchmarks.load import closed_loop
from benchmarks.load.clients import BrokerFailed
from benchmarks.report import Cell


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="A little of each, once: some seconds, and no figure to believe.")
@click.option("--only", default="", metavar="KEY,…", help=f"Of {', '.join(work.key for work in all_work(QUICK))}.")
@click.option("--brokers", "names", default="", metavar="NAME;…", help=f"Of {'; '.join(PROMISES)}.")
@click.option("--repeats", type=click.IntRange(1), help=f"Runs of each. [default: {EARNEST.repeats}]")
@click.option(
    "--disk",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=tempfile.gettempdir(),
    show_default=True,
    help="Directory on the disk to measure on.",
)
@click.option(
    "--results", type=click.Path(path_type=Path, file_okay=False), default=Path("benchmarks/results"), show_default=True
)
def main(*, quick: bool, only: str, names: str, repeats: int | None, disk: Path, results: Path) -> None:
    """Measure what it costs to keep what was acknowledged, beside what Mosquitto's persistence costs."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as an exception, so that the brokers are ended too
    if closed_loop.__file__.endswith(".py") and not quick:
        click.echo("benchmarks: the load generator is not compiled; it may be the limit", err=True)
    about_disk = disk_of(disk)
    if about_disk.startswith("tmpfs") and not quick:
        raise click.BadParameter(f"{disk} is memory, and no disk; name another", param_hint="--disk")
    scale = QUICK if quick else EARNEST
    scale = replace(scale, repeats=repeats or scale.repeats)
    chosen = [name for name in names.split(";") if name] or list(PROMISES)
    rows = []
    for work in all_work(scale):
        if only and work.key not in only.split(","):
            continue
        brokers = durable_brokers([name for name in work.brokers if name in chosen])
        row = Row(work.key, work.title, {broker.name: broker.version for broker in brokers}, {})
        row.cells.update(measure(work, brokers, disk))
        rows.append(row)
        for name, cell in row.cells.items():
            click.echo(f"{work.key:12}{name:24}{one_line(cell)}", err=True)
    write_report(results, rows, about_disk)
    click.echo(f"benchmarks: wrote {results}/durable.md and .json", err=True)


def measure(work: Work, brokers: list[Broker], disk: Path) -> dict[str, Cell]:
    """Let the brokers prepare, and then take turns; one that has failed is not asked again."""
    cells = {broker.name: Cell() for broker in brokers}
    with tempfile.TemporaryDirectory(prefix="tidewire-bench-", dir=disk) as name:
        prepared = {}
        for number in range(-1, work.repeats):
            for broker in brokers:
                cell, directory = cells[broker.name], Path(name, broker.name.replace(", ", "-").replace(" ", "-"))
                if cell.failures:
                    continue
                try:
                    if number < 0:
                        directory.mkdir()
                        prepared[broker.name] = work.prepare(broker, directory)
                    else:
                        cell.runs.append(prepared[broker.name] | work.run(broker, directory, number))
                except (BrokerFailed, OSError) as error:
                    cell.failures.append(str(error) or repr(error))
    return cells


def one_line(cell: Cell) -> str:
    figures = " ".join(f"{name}={value:.4g}" for name, value in cell.medians().items())
    return " ".join([figures, *(f"FAILED: {text}" for text in cell.failures)])


if __name__ == "__main__":
    main()
