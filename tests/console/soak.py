"""Does a page that is left open grow, in memory or in lag? `python -m tests.console.soak --minutes 60`, or `make soak`.

A broker, a publisher of 50 000 messages a second over 10 000 topics, and the topics page on `#` in Chromium. Every ten
seconds a line is written to `build/soak.ndjson`; at the end the first and the last quarter of the time are compared,
and `--report FILE` keeps what came of it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

from tests.console.looking import Console

SAMPLES: Final = Path("build/soak.ndjson")
GROWN: Final = 1.2
"""A figure whose median in the last quarter is so many times that of the first has grown."""
SLACK: Final = {"heap_bytes": 5_000_000, "nodes": 500, "broker_bytes": 10_000_000, "lag_ms": 250.0, "frame_ms": 100.0}
"""What may come and go without being growth."""
WARM_UP_S: Final = 30.0
"""Until every topic has been seen, and caches are full."""

FRAMES: Final = """() => {
  window.longestFrame = 0;
  let before = performance.now();
  const look = now => {
    longestFrame = Math.max(longestFrame, now - before);
    before = now;
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""

CLICK: Final = """([name, then]) => new Promise(resolve => {
  const find = text => [...document.querySelectorAll('button')].find(each => each.innerText.includes(text));
  const began = performance.now();
  const look = () => find(then) ? resolve(performance.now() - began) : requestAnimationFrame(look);
  find(name).click();
  look();
})"""


@dataclass(frozen=True, slots=True)
class Sample:
    """How the page and the broker are."""

    at_s: float
    heap_bytes: float
    """Of the page's JavaScript, after a collection."""
    nodes: float
    """Of the page."""
    broker_bytes: float
    """Resident."""
    broker_cpu: float
    """Share of a core since the last sample."""
    lag_ms: float
    """From a click to what it changes: to the broker and back."""
    frame_ms: float
    """The longest time between two frames since the last sample."""


class Soak:
    """One page under load."""

    def __init__(self, console: Console, rate: int, topics: int) -> None:
        self._console = console
        self._load = subprocess.Popen(
            [sys.executable, "-m", "tests.console.load", str(console.mqtt_port), str(rate), str(topics)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([".", os.environ.get("PYTHONPATH", "")])},
        )
        self._page = console.open("/topics")
        for branch, leaf in (("plant", "line7"), ("line7", "sensor0")):
            self._page.get_by_text(branch, exact=True).first.click()
            self._page.keyboard.press("ArrowRight")
            self._page.get_by_text(leaf, exact=True).first.wait_for()
        self._page.evaluate(FRAMES)
        self._devtools = self._page.context.new_cdp_session(self._page)
        self._devtools.send("Performance.enable")
        self._began = self._sampled = time.monotonic()
        self._cpu_s = self._broker_cpu_s()

    def close(self) -> None:
        self._load.terminate()
        self._load.wait()
        self._page.context.close()

    def wait(self, seconds: float) -> None:
        """While the page goes on."""
        self._page.wait_for_timeout(seconds * 1000)
        assert self._load.poll() is None, "the load has ended"

    def shot(self, name: str) -> None:
        self._console.shot(self._page, name)

    def messages_shown(self) -> int:
        """What the page says has come so far."""
        text = self._page.get_by_text("a second").first.inner_text()
        return int(text.split("·")[1].replace("messages", "").replace("\u00a0", "").replace(" ", ""))

    def sample(self) -> Sample:
        frame_ms = self._page.evaluate("() => { const frame = longestFrame; longestFrame = 0; return frame }")
        lag_ms = median(self._click(name, then) for name, then in (("Pause", "Resume"), ("Resume", "Pause")) * 2)
        self._devtools.send("HeapProfiler.collectGarbage")
        metrics = {each["name"]: each["value"] for each in self._devtools.send("Performance.getMetrics")["metrics"]}
        now, cpu_s = time.monotonic(), self._broker_cpu_s()
        share = (cpu_s - self._cpu_s) / (now - self._sampled)
        self._sampled, self._cpu_s = now, cpu_s
        return Sample(
            at_s=now - self._began,
            heap_bytes=metrics["JSHeapUsedSize"],
            nodes=metrics["Nodes"],
            broker_bytes=self._console.broker.resident_bytes(),
            broker_cpu=share,
            lag_ms=lag_ms,
            frame_ms=frame_ms,
        )

    def _click(self, name: str, then: str) -> float:
        """Milliseconds from a click on one button until it has become another."""
        return float(self._page.evaluate(CLICK, [name, then]))

    def _broker_cpu_s(self) -> float:
        fields = Path(f"/proc/{self._console.broker.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def grown(samples: Sequence[Sample]) -> list[str]:
    """What has grown from the first quarter to the last, in words."""
    if not samples:
        return ["nothing was sampled"]
    figures = compared(samples)
    return [
        f"{name}: {figures[name]['first']:,.0f} → {figures[name]['last']:,.0f}"
        for name, slack in SLACK.items()
        if figures[name]["last"] > max(figures[name]["first"] * GROWN, figures[name]["first"] + slack)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=10.0, help="seconds between samples")
    parser.add_argument("--rate", type=int, default=50_000)
    parser.add_argument("--topics", type=int, default=10_000)
    parser.add_argument("--report", type=Path, metavar="FILE", help="write first and last quarter there, as JSON")
    options = parser.parse_args(arguments)
    SAMPLES.parent.mkdir(exist_ok=True)
    samples: list[Sample] = []
    with Console("--memory", "--log-level", "info") as console, SAMPLES.open("w", encoding="utf-8") as file:
        soak = Soak(console, options.rate, options.topics)
        try:
            soak.wait(min(WARM_UP_S, options.minutes * 15))
            end = time.monotonic() + options.minutes * 60
            while time.monotonic() < end:
                soak.wait(options.every)
                samples.append(soak.sample())
                print(json.dumps(asdict(samples[-1])), file=file, flush=True)
            soak.shot("soak")
        finally:
            soak.close()
        console.check_quiet()
    found = grown(samples)
    figures = compared(samples)
    for name, parts in figures.items():
        print(f"{name:14}" + "".join(f"{part:>14} {figure:14,.2f}" for part, figure in parts.items()))
    if options.report is not None:
        report = {"minutes": options.minutes, "rate": options.rate, "topics": options.topics, "figures": figures}
        options.report.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print("\n".join(f"has grown: {line}" for line in found) or "nothing has grown")
    return 1 if found else 0


def compared(samples: Sequence[Sample]) -> dict[str, dict[str, float]]:
    """Of each figure the median of the first quarter and the last, and the most."""
    quarter = max(1, len(samples) // 4)
    figures = {}
    for name in ("heap_bytes", "nodes", "broker_bytes", "broker_cpu", "lag_ms", "frame_ms"):
        values = [float(getattr(sample, name)) for sample in samples]
        figures[name] = {"first": median(values[:quarter]), "last": median(values[-quarter:]), "most": max(values)}
    return figures


if __name__ == "__main__":
    sys.exit(main())
