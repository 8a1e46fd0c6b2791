"""How the figures are shown: tables in Markdown, everything in JSON, and a chart."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.brokers import Broker
from benchmarks.scenarios import Scenario

OURS: Final = "tidewire"
DISTURBED_SHARE: Final = 0.1  # of one core, used by other programs meanwhile: such a figure is marked

Figures = Mapping[str, float]


@dataclass
class Cell:
    """What one broker did in one scenario: the figures of each run, and what failed."""

    runs: list[Figures] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def medians(self) -> dict[str, float]:
        return {name: median(run[name] for run in self.runs) for name in self.runs[0]} if self.runs else {}


Cells = Mapping[tuple[str, str], Cell]  # by scenario key and broker name


def write_report(folder: Path, scenarios: Sequence[Scenario], brokers: Sequence[Broker], cells: Cells) -> None:
    """Write latest.json, latest.md and latest.svg into `folder`, made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{broker.name: broker.version for broker in brokers},
    }
    (folder / "latest.json").write_text(_as_json(about, scenarios, cells))
    (folder / "latest.md").write_text(_as_markdown(about, scenarios, [broker.name for broker in brokers], cells))
    _draw(folder / "latest.svg", scenarios, [broker.name for broker in brokers], cells)


def _as_json(about: Mapping[str, str], scenarios: Sequence[Scenario], cells: Cells) -> str:
    results = [
        {
            "scenario": scenario.key,
            "title": scenario.title,
            "broker": broker,
            "median": cell.medians(),
            "runs": cell.runs,
            "failures": cell.failures,
        }
        for scenario in scenarios
        for (key, broker), cell in cells.items()
        if key == scenario.key
    ]
    return json.dumps({"about": about, "results": results}, indent=1, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class Section:
    """A table of the scenarios that report `compared`, the figure that ratios are taken of."""

    heading: str
    compared: str
    cell: Callable[[Figures], str]


def _as_markdown(about: Mapping[str, str], scenarios: Sequence[Scenario], brokers: list[str], cells: Cells) -> str:
    lines = ["# Benchmark results", "", ", ".join(f"{name} {value}" for name, value in about.items()) + ".", ""]
    lines += [EXPLANATION, ""]
    for section in SECTIONS:
        rows = [
            (scenario, {broker: cells[scenario.key, broker] for broker in brokers if (scenario.key, broker) in cells})
            for scenario in scenarios
            if scenario.compared == section.compared
        ]
        if rows:
            lines += [f"## {section.heading}", "", f"| | {' | '.join(brokers)} |", "|---|" + "---:|" * len(brokers)]
            for scenario, of_brokers in rows:
                texts = [_text(section, of_brokers.get(broker), of_brokers.get(OURS)) for broker in brokers]
                lines.append(f"| {scenario.title} | {' | '.join(texts)} |")
            lines.append("")
    failures = [f"- {broker}, {key}: {text}" for (key, broker), cell in cells.items() for text in set(cell.failures)]
    if failures:
        lines += ["## Runs that failed", "", *failures, ""]
    return "\n".join(lines)


def _text(section: Section, cell: Cell | None, ours: Cell | None) -> str:
    if cell is None:
        return ""
    figures = cell.medians()
    if not figures:
        return "failed"
    text = section.cell(figures)
    if figures.get("others_cpu_share", 0.0) > DISTURBED_SHARE:
        text += " †"
    if figures.get("in_order", 1.0) < 1:
        text += " ‡"
    if ours is not None and ours is not cell and ours.runs:
        ratio = ours.medians()[section.compared] / max(figures[section.compared], 1e-9)
        text += f" **{ratio:.3g}×**" if ratio < 1000 else f" **{ratio:.0f}×**"
    return text


def _throughput(figures: Figures) -> str:
    rate, cpu = _short(figures["deliveries_per_s"] / 1e3), _short(figures["broker_cpu_us_per_delivery"])
    return f"{rate} k ({cpu} µs; {figures['broker_cpu_share'] * 100:.0f}/{figures['load_cpu_share'] * 100:.0f} %)"


def _short(value: float) -> str:
    """Two digits at least."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _latency(figures: Figures) -> str:
    return " / ".join(f"{figures[name]:,.0f}" for name in ("p50_us", "p90_us", "p99_us", "p99_9_us"))


def _connects(figures: Figures) -> str:
    return f"{figures['connects_per_s']:,.0f} ({_short(figures['broker_cpu_us_per_connect'])} µs)"


def _resident(figures: Figures) -> str:
    return f"{figures['resident_bytes_per_connection']:,.0f}"


SECTIONS: Final = (
    Section("Deliveries per second", "deliveries_per_s", _throughput),
    Section("Latency p50 / p90 / p99 / p99.9 in µs; the ratio is that of p99, less is better", "p99_us", _latency),
    Section("Connections opened and closed per second", "connects_per_s", _connects),
    Section("Resident bytes of an idle connection; less is better", "resident_bytes_per_connection", _resident),
)

EXPLANATION: Final = f"""\
Each figure is the median of its runs, the brokers in turn. **Bold: Tidewire's figure divided by this one.** In brackets
after a rate: processor time of the broker for each delivery or connection, all its threads and children; then the
shares of their cores that the broker and the load generator used: who is near 100 % was the limit. A run counts only
when every delivery that was due has arrived, and none twice. † marks a figure during which other programs used more
than {DISTURBED_SHARE:.0%} of a core; ‡ one where messages of one publisher overtook each other.
How it is measured: `benchmarks/README.md`. Repeat it with `make bench`."""


def _draw(path: Path, scenarios: Sequence[Scenario], brokers: list[str], cells: Cells) -> None:
    """Rates as bars on a logarithmic axis. Without matplotlib there is no chart, and the tables stand alone."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 (only this needs it, and it takes a second)
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        path.unlink(missing_ok=True)
        return
    shown = [scenario for scenario in scenarios if scenario.compared == "deliveries_per_s"]
    if not shown:
        return
    mpl.rcParams["svg.hashsalt"] = "tidewire"  # the same figures give the same file
    figure = Figure(figsize=(9, 1 + 0.14 * len(shown) * (len(brokers) + 1)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(brokers)
    for index, broker in enumerate(brokers):
        rates = [cells.get((scenario.key, broker), Cell()).medians().get("deliveries_per_s", 0.0) for scenario in shown]
        places = [row + (index - (len(brokers) - 1) / 2) * height for row in range(len(shown))]
        axes.barh(places, rates, height, label=broker, color=COLOURS[index % len(COLOURS)])
    axes.set_yticks(range(len(shown)), [scenario.title for scenario in shown])
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.set_xscale("log")
    axes.set_xlabel("deliveries per second, logarithmic")
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlim(left=1000)
    figure.legend(loc="outside upper center", ncols=len(brokers), fontsize="small")
    figure.savefig(path, metadata={"Date": None})


COLOURS: Final = ("#0b7285", "#adb5bd", "#f08c00", "#9c36b5", "#74b816")


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
