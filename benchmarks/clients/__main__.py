"""`python -m benchmarks.clients`, or `make bench`: give every client that is installed the same work, and report it."""

from __future__ import annotations

import signal
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import click

import tidewire
from benchmarks.brokers import TIDEWIRE, Broker, Running, running, write_config
from benchmarks.clients.measure import PUBLISHES, ClientFailed, Variant, run, run_queue
from benchmarks.clients.report import KINDS, OURS, Program, write_report
from benchmarks.clients.work import Unsupported
from benchmarks.load.clients import BrokerFailed
from benchmarks.report import Cell

REPEATS: Final = 5
SECONDS: Final = 0.6
QUICK_SECONDS: Final = 0.3
FIRST_MESSAGES: Final = 2_000  # of the run that finds out how many take the time wanted

EVENT_LOOPS: Final = ("asyncio", "uvloop")
PROGRAMS: Final = (
    Program("tidewire", "tidewire", EVENT_LOOPS),
    Program("mqttium", "mqttium", ("asyncio",)),  # 1.2 cannot open a TCP connection on uvloop
    Program("gmqtt", "gmqtt", EVENT_LOOPS),
    Program("mqttools", "mqttools", EVENT_LOOPS),
    Program("paho", "paho-mqtt", ("threads",)),
    Program("awscrt", "awscrt", ("threads",)),
    Program("aiomqtt", "aiomqtt", EVENT_LOOPS),
)

# Nothing is dropped on its way to a client that is slower than the flood: the broker keeps it all.
BROKER: Final = TIDEWIRE + "\n[limits]\noutbox_bytes = 1_073_741_824\n"

Cells = dict[tuple[str, Variant], Cell]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="One short run of each: about a minute.")
@click.option("--only", default="", metavar="KIND,…", help=f"Of {', '.join(KINDS)}.")
@click.option("--clients", "names", default="", metavar="NAME,…", help=f"Of {', '.join(p.name for p in PROGRAMS)}.")
@click.option("--repeats", type=click.IntRange(1), help=f"Runs of each, of which the median counts. [{REPEATS}]")
@click.option("--seconds", type=click.FloatRange(0.05), help=f"Time that a run takes, about. [{SECONDS}]")
@click.option("--list", "only_list", is_flag=True, help="Say which clients there are, and which are missing.")
@click.option(
    "--results", type=click.Path(path_type=Path, file_okay=False), default=Path("benchmarks/results"), show_default=True
)
def main(
    *,
    quick: bool,
    only: str,
    names: str,
    repeats: int | None,
    seconds: float | None,
    only_list: bool,
    results: Path,
) -> None:
    """Measure Tidewire's client beside the other MQTT clients that are installed here, on the same work in one run."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as an exception, so that broker and client are ended too
    kinds = chosen("--only", only, list(KINDS))
    programs = {program.name: program for program in PROGRAMS}
    versions = {name: find_version(programs[name]) for name in chosen("--clients", names, list(programs))}
    missing = [programs[name].distribution for name, found in versions.items() if found is None]
    present = {programs[name]: found for name, found in versions.items() if found is not None}
    if only_list:
        click.echo("\n".join(f"{program.name} {found}" for program, found in present.items()))
    if missing:
        click.echo(f"benchmarks: not installed, and left out: {', '.join(missing)}", err=True)
    if only_list:
        return
    repeats = repeats or (1 if quick else REPEATS)
    seconds = seconds or (QUICK_SECONDS if quick else SECONDS)
    cells: Cells = {}
    with running(Broker(OURS, tidewire.__version__, serve)) as broker:
        for kind in kinds:
            variants = [Variant(program.name, loop) for program in present for loop in program.loops]
            for variant, cell in measure(kind, variants, broker, repeats, seconds).items():
                cells[kind, variant] = cell
                click.echo(f"{kind:14}{variant.name:10}{variant.loop:9}{one_line(cell)}", err=True)
    write_report(results, present, missing, cells)
    click.echo(f"benchmarks: wrote {results}/clients.md and .json", err=True)


def chosen(option: str, text: str, known: list[str]) -> list[str]:
    """The names in `text`, or all that are known."""
    names = [name for name in text.split(",") if name]
    if unknown := [name for name in names if name not in known]:
        raise click.BadParameter(f"{', '.join(unknown)}; there are {', '.join(known)}", param_hint=option)
    return names or known


def find_version(program: Program) -> str | None:
    """Of the client that is installed here; None: it is not."""
    if program.name == OURS:
        return tidewire.__version__
    try:
        return version(program.distribution)
    except PackageNotFoundError:
        return None


def serve(port: int, directory: Path) -> list[str]:
    """The command of the broker that all clients speak to."""
    return [
        sys.executable,
        "-m",
        "tidewire",
        "serve",
        "--config",
        write_config(directory / "tidewire.toml", BROKER, port),
    ]


def measure(kind: str, variants: list[Variant], broker: Running, repeats: int, seconds: float) -> dict[Variant, Cell]:
    """Run each variant in turn, `repeats` times; one that has failed twice, or cannot do it, is not asked again."""
    cells = {variant: Cell() for variant in variants}
    messages: dict[Variant, int] = {}
    unsupported = set()
    for _ in range(repeats):
        for variant, cell in cells.items():
            if variant in unsupported or len(cell.failures) > 1:
                continue
            try:
                if kind not in KINDS_OF_RATE:
                    cell.runs.append(run_queue(variant))
                    continue
                if variant not in messages:
                    messages[variant] = find_messages(variant, kind, broker, seconds)
                cell.runs.append(run(variant, kind, broker, messages[variant]))
            except Unsupported as error:
                unsupported.add(variant)
                cell.failures.append(str(error))
            except (ClientFailed, BrokerFailed, OSError) as error:
                cell.failures.append(str(error) or repr(error))
    return cells


KINDS_OF_RATE: Final = (*PUBLISHES, "receive")


def find_messages(variant: Variant, kind: str, broker: Running, seconds: float) -> int:
    """How many messages take about `seconds`."""
    messages = FIRST_MESSAGES
    while True:
        rate = run(variant, kind, broker, messages)["messages_per_s"]
        if messages >= rate * seconds / 4:
            return max(FIRST_MESSAGES, int(rate * seconds))
        messages = int(rate * seconds)


def one_line(cell: Cell) -> str:
    figures = " ".join(f"{name}={value:.4g}" for name, value in cell.medians().items())
    return " ".join([figures, *(f"FAILED: {text}" for text in cell.failures)])


if __name__ == "__main__":
    main()
