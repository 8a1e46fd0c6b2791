"""How the figures of the clients are shown: a table in Markdown, everything in JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.clients.measure import Variant
from benchmarks.report import DISTURBED_SHARE, Cell, processor

OURS: Final = "tidewire"
KINDS: Final = {  # what each kind of work is compared by, what the report calls it, and what Tidewire aims at
    "publish_qos0": ("messages_per_s", "awaited publishes per second, QoS 0", "at least 3×"),
    "publish_qos1": ("messages_per_s", "publishes per second, QoS 1, many in flight", "at least 3×"),
    "receive": ("messages_per_s", "messages received per second, QoS 0", "at least 3×"),
    "queue": ("resident_bytes", "resident bytes of a queued publish, QoS 1 (less is better)", "below 1×"),
}


@dataclass(frozen=True)
class Program:
    """A client of the comparison: its file here, the distribution it comes from, and what it can run on."""

    name: str
    distribution: str
    loops: tuple[str, ...]


def write_report(
    folder: Path, present: Mapping[Program, str], missing: Sequence[str], cells: Mapping[tuple[str, Variant], Cell]
) -> None:
    """Write clients.json and clients.md into `folder`, made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "about": {
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "processor": processor(),
            "cores": str(os.cpu_count()),
            "system": f"{platform.system()} {platform.release()}",
            "python": platform.python_version(),
        },
        "clients": [
            {"client": program.name, "distribution": program.distribution, "version": version}
            for program, version in present.items()
        ],
        "missing": list(missing),
        "results": [
            {
                "kind": kind,
                "client": variant.name,
                "loop": variant.loop,
                "median": cell.medians(),
                "runs": cell.runs,
                "failures": cell.failures,
            }
            for (kind, variant), cell in cells.items()
        ],
    }
    (folder / "clients.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    (folder / "clients.md").write_text(as_markdown(document))


def as_markdown(document: Mapping[str, Any]) -> str:
    """The report as people read it, from what clients.json holds."""
    about = ", ".join(f"{name} {value}" for name, value in document["about"].items())
    lines = ["# Benchmark results of the clients", "", f"{about}.", "", EXPLANATION, "", *table(document)]
    if document["missing"]:
        lines += ["", f"Not installed, and left out: {', '.join(document['missing'])}."]
    failures = [
        f"- {row['client']} on {row['loop']}, {row['kind']}: {text}"
        for row in document["results"]
        for text in sorted(set(row["failures"]))
        if row["median"] or best(document, row["kind"], row["client"])
    ]
    if failures:
        lines += ["", "## Runs that failed", "", *failures]
    return "\n".join(lines) + "\n"


def table(document: Mapping[str, Any]) -> list[str]:
    """A row for each client, with the better of its event loops, and how Tidewire compares with the best of them."""
    kinds = [kind for kind in KINDS if any(row["kind"] == kind for row in document["results"])]
    lines = [f"| | {' | '.join(KINDS[kind][1] for kind in kinds)} |", "|---|" + "---:|" * len(kinds)]
    for client in document["clients"]:
        texts = [cell_text(document, kind, client["client"]) for kind in kinds]
        lines.append(f"| {client['distribution']} {client['version']} | {' | '.join(texts)} |")
    against = [against_the_best(document, kind) for kind in kinds]
    lines.append(f"| **Tidewire's by that of the best other** | {' | '.join(against)} |")
    lines.append(f"| aimed at | {' | '.join(KINDS[kind][2] for kind in kinds)} |")
    return lines


def against_the_best(document: Mapping[str, Any], kind: str) -> str:
    """Tidewire's figure divided by the best of the others', and whose that is."""
    compared = KINDS[kind][0]
    rows = [best(document, kind, client["client"]) for client in document["clients"] if client["client"] != OURS]
    ours, theirs = best(document, kind, OURS), better_of([row for row in rows if row is not None], kind)
    if ours is None or theirs is None:
        return ""
    return f"**{times(ours['median'][compared] / theirs['median'][compared])}** {theirs['client']}"


def times(ratio: float) -> str:
    return f"{ratio:.3g}×" if ratio < 1000 else f"{ratio:,.0f}×"


def cell_text(document: Mapping[str, Any], kind: str, client: str) -> str:
    """One figure, on which loop, and in bold Tidewire's divided by it; or why there is none."""
    compared = KINDS[kind][0]
    row = best(document, kind, client)
    if row is None:
        return "; ".join(sorted({text for row in results(document, kind, client) for text in row["failures"]}))
    figures = row["median"]
    if kind == "queue":
        text = f"{figures[compared]:,.0f} B"
        if figures["queued"] < figures["asked"]:
            text += f", for {figures['queued']:,.0f}"
    else:
        text = f"{figures[compared] / 1000:,.0f} k ({figures['client_cpu_us_per_message']:.2g} µs, {row['loop']})"
    if figures.get("others_cpu_share", 0.0) > DISTURBED_SHARE:
        text += " †"
    ours = best(document, kind, OURS)
    if ours is not None and client != OURS:
        text += f" **{times(ours['median'][compared] / figures[compared])}**"
    return text


def best(document: Mapping[str, Any], kind: str, client: str) -> Mapping[str, Any] | None:
    """The result of the event loop that this client is better on; None: on none did every run succeed."""
    return better_of([row for row in results(document, kind, client) if row["median"] and not row["failures"]], kind)


def better_of(rows: Sequence[Mapping[str, Any]], kind: str) -> Mapping[str, Any] | None:
    sign = 1 if kind == "queue" else -1  # of memory the least, of rates the greatest
    return min(rows, key=lambda row: sign * row["median"][KINDS[kind][0]], default=None)


def results(document: Mapping[str, Any], kind: str, client: str) -> list[Mapping[str, Any]]:
    return [row for row in document["results"] if (row["kind"], row["client"]) == (kind, client)]


EXPLANATION: Final = f"""\
Each figure is the median of its runs, the clients in turn, each run in a fresh process on a core of its own; the
broker, a `tidewire serve`, has another. **Bold: Tidewire's figure divided by this one.** In brackets: processor time of
the client for each message, all its threads, and the event loop that it was better on; `threads`: its own. A rate
counts only when every message has arrived in every run. † marks a figure during which other programs used more than
{DISTURBED_SHARE:.0%} of a core. How it is measured: `benchmarks/README.md`. Repeat it with `make bench`."""
