"""Write the figures in README.md and docs/ from benchmarks/results; `--check` only compares them.

`make bench` writes the results: latest.json of the brokers, of which this shows the rows that a newcomer asks for,
clients.md and durable.md, which it shows whole. console.json is from
`python -m benchmarks.console`, soak.json from `make soak`, surf.json from `python -m examples.surf spectators`.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "docs/speed.md", "docs/console.md", "docs/surf.md")
END = "<!-- end of figures -->"

RATES = (
    "pair-qos0-64",
    "fan-out-100-qos0-64",
    "fan-out-1000-qos0-64",
    "fan-in-qos0-64",
    "pairs-qos1-64",
    "pairs-qos2-64",
    "fan-out-100-qos1-64",
    "fan-out-1000-qos1-64",
    "fan-out-100-qos2-64",
    "fan-out-1000-qos2-64",
    "mixed",
    "routing",
)
OTHERS = (  # scenario, figure, what it is, how it is written
    ("latency-qos0", "p99_us", "p99 latency at 1 000 msg/s, QoS 0, µs (less is better)", "{:,.0f}"),
    ("latency-qos1", "p99_us", "p99 latency at 1 000 msg/s, QoS 1, µs (less is better)", "{:,.0f}"),
    ("connects", "connects_per_s", "connections opened and closed per second", "{:,.0f}"),
    ("idle", "resident_bytes_per_connection", "resident bytes of an idle connection (less is better)", "{:,.0f}"),
)
BROKERS = ("tidewire", "mosquitto", "flashmq")
DISTURBED = 0.1
"""Share of a core that other programs used meanwhile: such a figure has a †."""


def broker_figures() -> str:
    """The table of the brokers, as Markdown."""
    document = json.loads((ROOT / "benchmarks/results/latest.json").read_text())
    about = document["about"]
    results = {(row["scenario"], row["broker"]): row for row in document["results"]}
    heads = [f"{name} {about[name]}" for name in BROKERS]
    lines = [
        "| deliveries per second (CPU µs of the broker each) | " + " | ".join(heads) + " |",
        "|---|---:|---:|---:|",
    ]
    for scenario in RATES:
        cells = []
        for broker in BROKERS:
            figures = results[scenario, broker]["median"]
            rate, cpu = figures["deliveries_per_s"], figures["broker_cpu_us_per_delivery"]
            ratio = results[scenario, "tidewire"]["median"]["deliveries_per_s"] / rate
            beside = "" if broker == "tidewire" else f" **{ratio:.3g}×**"
            mark = " †" if figures.get("others_cpu_share", 0.0) > DISTURBED else ""
            cells.append(f"{rate / 1000:,.0f} k ({cpu:.2g}){beside}{mark}")
        lines.append(f"| {results[scenario, 'tidewire']['title']} | " + " | ".join(cells) + " |")
    for scenario, figure, title, written in OTHERS:
        cells = [written.format(results[scenario, broker]["median"][figure]) for broker in BROKERS]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    lines += ["", *shortfalls(results)]
    told = " † other programs used more than a tenth of a core meanwhile." if "†" in "".join(lines) else ""
    machine = f"{about['processor']}, {about['cores']} cores, Python {about['python']}, {about['date']}"
    return "\n".join(lines) + f"\n\nBold: Tidewire's rate divided by this one.{told} One run on {machine}.\n"


def shortfalls(results: dict[tuple[str, str], dict[str, dict[str, float]]]) -> list[str]:
    """What was aimed at and not reached, and by how much."""

    def figure(scenario: str, broker: str, name: str) -> float:
        return results[scenario, broker]["median"][name]

    lines = []
    for qos in (0, 1):
        ours, theirs = (figure(f"latency-qos{qos}", broker, "p99_us") for broker in ("tidewire", "mosquitto"))
        lines.append((f"p99 latency, QoS {qos}, against Mosquitto's", ours / theirs, 1.0, "at most"))
    for title, scenario, name, word in (
        ("connections opened and closed per second", "connects", "connects_per_s", "at least"),
        ("resident bytes of an idle connection", "idle", "resident_bytes_per_connection", "at most"),
    ):
        ratio = figure(scenario, "tidewire", name) / figure(scenario, "mosquitto", name)
        lines.append((f"{title}, against Mosquitto's", ratio, 1.0, word))
    for qos in (0, 1, 2):
        hundred, thousand = (
            figure(f"fan-out-{subscribers}-qos{qos}-64", "tidewire", "broker_cpu_us_per_delivery")
            for subscribers in (100, 1000)
        )
        lines.append(
            (f"CPU per delivery at 1 000 subscribers against 100, QoS {qos}", thousand / hundred, 1.0, "at most")
        )
    for qos, aim in ((1, 1.5), (2, 1.3)):
        for scenario in ("pair", "pairs", "fan-out-100", "fan-out-1000", "fan-in"):
            row = results[f"{scenario}-qos{qos}-64", "tidewire"]
            rates = [
                figure(f"{scenario}-qos{qos}-64", broker, "deliveries_per_s") for broker in ("tidewire", "flashmq")
            ]
            lines.append((f"{row['title']}, rate against FlashMQ's", rates[0] / rates[1], aim, "at least"))
    missed = [line for line in lines if (line[1] > line[2] if line[3] == "at most" else line[1] < line[2])]
    return ["| falls short | measured | aim |", "|---|---:|---:|"] + [
        f"| {title} | {ratio:.2f}× | {word} {aim:g}× |" for title, ratio, aim, word in missed
    ]


def client_figures() -> str:
    """The tables of the clients, without their title."""
    return (ROOT / "benchmarks/results/clients.md").read_text().partition("\n\n")[2]


def durable_figures() -> str:
    """The tables of durability, without their title."""
    return (ROOT / "benchmarks/results/durable.md").read_text().partition("\n\n")[2]


def console_figures() -> str:
    """What each open page costs the broker."""
    document = json.loads((ROOT / "benchmarks/results/console.json").read_text())
    rows = document["figures"]
    found = {(row["load"], row["page"]): row for row in rows}
    pages = list(dict.fromkeys(row["page"] for row in rows if row["page"] != "none"))
    lines = [
        f"| load | the broker without a page | {' | '.join(f'{page}: more' for page in pages)} |",
        "|---|---:|" + "---:|" * len(pages),
    ]
    for load in dict.fromkeys(row["load"] for row in rows):
        cells = [f"{found[load, page]['page_cpu_share'] * 100:+.1f} %".replace("-", "−") for page in pages]
        alone = f"{found[load, 'none']['broker_cpu_share'] * 100:.1f} %"
        lines.append(f"| {load} | {alone} | {' | '.join(cells)} |")
    lines += [
        "",
        f"| as much as it can pass on | deliveries a second | {' | '.join(f'{page}: rate' for page in pages)} "
        f"| {' | '.join(f'{page}: CPU each' for page in pages)} |",
        "|---|---:|" + "---:|" * 2 * len(pages),
    ]
    passed = {(row["work"], row["page"]): row for row in document["saturated"]}
    for work in dict.fromkeys(row["work"] for row in document["saturated"]):
        cells = [f"{passed[work, page][ratio]:.2f}×" for ratio in ("rate_ratio", "cpu_ratio") for page in pages]
        lines.append(f"| {work} | {passed[work, 'none']['deliveries_per_s']:,.0f} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def soak_figures() -> str:
    """A page that was left open."""
    report = json.loads((ROOT / "benchmarks/results/soak.json").read_text())
    lines = [
        f"| {report['minutes']:.0f} minutes at {report['rate']:,} messages a second over {report['topics']:,} topics"
        " | first quarter | last quarter | most |",
        "|---|---:|---:|---:|",
    ]
    for name, (title, unit) in {
        "heap_bytes": ("the page's JavaScript, MB", 1e6),
        "nodes": ("nodes of the page", 1),
        "broker_bytes": ("the broker, MB resident", 1e6),
        "broker_cpu": ("the broker, share of a core", 1),
        "lag_ms": ("from a click to what it changes, ms", 1),
    }.items():
        cells = [f"{report['figures'][name][part] / unit:,.4g}" for part in ("first", "last", "most")]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def surf_figures() -> str:
    """How long an update takes to hundreds of spectators."""
    measured = json.loads((ROOT / "benchmarks/results/surf.json").read_text())
    return (
        "| spectators | updates | received | p50, ms | p99, ms | longest, ms |\n|---:|---:|---:|---:|---:|---:|\n"
        f"| {measured['spectators']} | {measured['updates']} | {measured['received']:,} | {measured['p50_ms']:.1f} "
        f"| {measured['p99_ms']:.1f} | {measured['maximum_ms']:.1f} |\n"
    )


BLOCKS = {
    "<!-- figures: python tools/readme_table.py -->\n": broker_figures,
    "<!-- client figures: python tools/readme_table.py -->\n": client_figures,
    "<!-- durable figures: python tools/readme_table.py -->\n": durable_figures,
    "<!-- console figures: python tools/readme_table.py -->\n": console_figures,
    "<!-- soak figures: python tools/readme_table.py -->\n": soak_figures,
    "<!-- surf figures: python tools/readme_table.py -->\n": surf_figures,
}


def main() -> None:
    for page in PAGES:
        path = ROOT / page
        text = fresh = path.read_text()
        for begin, figures in BLOCKS.items():
            before, found, rest = fresh.partition(begin)
            if found:
                fresh = before + begin + figures() + END + rest.partition(END)[2]
        if "--check" not in sys.argv:
            path.write_text(fresh)
        elif fresh != text:
            sys.exit(f"{page} does not show what benchmarks/results holds; run: python tools/readme_table.py")


if __name__ == "__main__":
    main()
