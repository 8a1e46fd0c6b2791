"""How the figures of durability are shown: tables in Markdown, everything in JSON."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.durable.brokers import FULL, MEMORY, MOSQUITTO, PROMISES
from benchmarks.report import DISTURBED_SHARE, Cell, Figures, processor


@dataclass
class Row:
    """What the brokers did in one kind of work."""

    key: str
    title: str
    versions: dict[str, str]
    cells: dict[str, Cell]


def write_report(folder: Path, rows: Sequence[Row], disk: str) -> None:
    """Write durable.json and durable.md into `folder`, made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "about": {
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "processor": processor(),
            "cores": str(os.cpu_count()),
            "disk": disk,
            "system": f"{platform.system()} {platform.release()}",
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            **{name.partition(",")[0]: version for row in rows for name, version in row.versions.items()},
        },
        "results": [
            {
                "work": row.key,
                "title": row.title,
                "broker": name,
                "median": cell.medians(),
                "runs": cell.runs,
                "failures": cell.failures,
            }
            for row in rows
            for name, cell in row.cells.items()
        ],
    }
    (folder / "durable.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    (folder / "durable.md").write_text(as_markdown(document))


def as_markdown(document: Mapping[str, Any]) -> str:
    """The report as people read it, from what durable.json holds."""
    about = ", ".join(f"{name} {value}" for name, value in document["about"].items())
    lines = ["# Benchmark results of durability", "", f"{about}.", "", EXPLANATION, ""]
    lines += [f"- **{name}**: {promise}." for name, promise in PROMISES.items()]
    for work, columns in COLUMNS.items():
        results = [result for result in document["results"] if result["work"] == work]
        if not results:
            continue
        lines += ["", f"**{results[0]['title'][0].upper()}{results[0]['title'][1:]}**", ""]
        lines += [f"| | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
        for result in results:
            figures = result["median"]
            mark = " †" if figures.get("others_cpu_share", 0.0) > DISTURBED_SHARE else ""
            texts = [write(figures) for write in columns.values()] if figures else ["; ".join(result["failures"])]
            lines.append(f"| {result['broker']}{mark} | {' | '.join(texts)} |")
    return "\n".join([*lines, "", *aims(document)]) + "\n"


def aims(document: Mapping[str, Any]) -> list[str]:
    """What was aimed at, what was measured, and where that falls short."""
    lines = ["| | measured | aim |", "|---|---:|---:|"]
    for title, value, written, aim, word in AIMS:
        try:
            figure = value(Found(document))
        except KeyError:
            continue  # it was not measured, or failed
        reached = figure >= aim if word == "at least" else figure <= aim
        missed = "" if reached else ", **missed**"
        lines.append(f"| {title} | {written.format(figure)} | {word} {written.format(aim)}{missed} |")
    return lines


class Found:
    """The figures of a document, by broker and work."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.results = {(result["work"], result["broker"]): result for result in document["results"]}

    def median(self, work: str, broker: str, figure: str) -> float:
        """Raises KeyError where there is none."""
        found: float = self.results[work, broker]["median"][figure]
        return found

    def ratio(self, work: str, figure: str, other: str) -> float:
        """Tidewire's figure by the other's, the median of the rounds: in one round both met the same disturbance."""
        ours, theirs = (self.results[work, broker]["runs"] for broker in (FULL, other))
        if not ours or not theirs:
            raise KeyError(work)
        ratio: float = median(our[figure] / their[figure] for our, their in zip(ours, theirs, strict=False))
        return ratio


def disk_of(path: Path) -> str:
    """Type and device of the file system that holds `path`."""
    where = os.path.realpath(path)
    found = ("", "", "")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        device, mounted_at, kind = line.split()[:3]
        if (where + "/").startswith(mounted_at.rstrip("/") + "/") and len(mounted_at) >= len(found[1]):
            found = device, mounted_at, kind
    return f"{found[2]} on {found[0]}"


def _thousands(name: str) -> Callable[[Figures], str]:
    return lambda figures: f"{figures[name] / 1000:,.0f} k"


def _number(name: str, digits: int = 0, unit: str = "", scale: float = 1.0) -> Callable[[Figures], str]:
    return lambda figures: f"{figures[name] * scale:,.{digits}f}{unit}"


def _busy(figures: Figures) -> str:
    return f"{figures['broker_cpu_share']:.0%} / {figures['load_cpu_share']:.0%}"


MEBIBYTES: Final = 1 / 2**20

COLUMNS: Final[dict[str, dict[str, Callable[[Figures], str]]]] = {
    "committed": {
        "acknowledged per second": _thousands("deliveries_per_s"),
        "CPU µs each": _number("broker_cpu_us_per_delivery", 1),
        "broker / load busy": _busy,
        "bytes written each": _number("written_bytes"),
        "bytes of file each": _number("file_bytes"),
        "resident bytes each": _number("resident_bytes"),
    },
    "killed": {
        "acknowledged per second": _thousands("deliveries_per_s"),
        "of what was acknowledged there is after a restart": _number("kept_share", 2, " %", 100),
    },
    "lone": {
        "PUBACK after, p50 µs": _number("puback_p50_us"),
        "p99 µs": _number("puback_p99_us"),
        "the disk alone (append of 4 KiB, fdatasync), p50 µs": _number("disk_p50_us"),
        "the disk's p99 µs": _number("disk_p99_us"),
    },
    "online": {
        "deliveries per second": _thousands("deliveries_per_s"),
        "CPU µs each": _number("broker_cpu_us_per_delivery", 1),
        "broker / load busy": _busy,
        "bytes written each": _number("written_bytes", 1),
    },
    "start-up": {
        "seconds": _number("start_s", 2),
        "of them CPU": _number("start_cpu_s", 2),
        "resident MiB": _number("resident_bytes", scale=MEBIBYTES),
        "file MiB": _number("file_bytes", scale=MEBIBYTES),
        "retained per second, made": _thousands("retained_per_s"),
        "sessions per second, made": _thousands("sessions_per_s"),
        "seconds to end": _number("stop_s", 2),
    },
    "away": {
        "ms to the last message": _number("live_s", 1, scale=1000),
        "ms after a restart": _number("restarted_s", 1, scale=1000),
        "passing per second": _thousands("passed_per_s"),
        "file MiB": _number("file_bytes", scale=MEBIBYTES),
    },
}
"""Of each kind of work, what its table shows."""

AIMS: Final[tuple[tuple[str, Callable[[Found], float], str, float, str], ...]] = (
    (
        "committed per second, sessions away",
        lambda found: found.median("committed", FULL, "deliveries_per_s"),
        "{:,.0f}",
        100_000,
        "at least",
    ),
    (
        "that rate by Mosquitto's",
        lambda found: found.ratio("committed", "deliveries_per_s", MOSQUITTO),
        "{:.2f}×",
        1.0,
        "at least",
    ),
    (
        "kept after kill -9",
        lambda found: found.median("killed", FULL, "kept_share") * 100,
        "{:.2f} %",
        100,
        "at least",
    ),
    (
        "rate of connected sessions by that in memory",
        lambda found: found.ratio("online", "deliveries_per_s", MEMORY),
        "{:.2f}×",
        0.8,
        "at least",
    ),
    (
        "CPU of their messages by that in memory",
        lambda found: found.ratio("online", "broker_cpu_us_per_delivery", MEMORY),
        "{:.2f}×",
        1.2,
        "at most",
    ),
    (
        "seconds for a subscriber that was away",
        lambda found: found.median("away", FULL, "live_s"),
        "{:.3f}",
        1.0,
        "at most",
    ),
    (
        "the same after a restart",
        lambda found: found.median("away", FULL, "restarted_s"),
        "{:.3f}",
        1.0,
        "at most",
    ),
)
"""What, how it is found, how it is written, the aim, and on which side of it is well."""

EXPLANATION: Final = f"""\
The brokers take turns in one run, each on a core of its own with its files on the disk named above; figures are
medians. They are given the same work by the same load generator in a closed loop: every acknowledgement and every
delivery that is due must come, and after an end that the broker was asked for, every message must be there again.
† marks what was measured while other programs used more than {DISTURBED_SHARE:.0%} of a core. Repeat it with
`python -m benchmarks.durable`."""
