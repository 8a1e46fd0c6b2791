"""Does the comparison of clients measure the right packages, lose sight of nothing, and say what it found?"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from benchmarks.brokers import Running
from benchmarks.clients import measure
from benchmarks.clients.measure import Child, ClientFailed, Variant
from benchmarks.clients.report import as_markdown, table
from benchmarks.clients.work import Unsupported
from tests.process import BrokerProcess

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results"


@pytest.mark.parametrize("name", ["paho", "aiomqtt", "gmqtt"])
def test_a_client_program_uses_the_package_that_it_is_named_after_and_not_itself(name: str) -> None:
    program, package = import_module(f"benchmarks.clients.{name}"), import_module(name)
    assert Path(str(program.__file__)).parent == ROOT / "benchmarks" / "clients"
    assert package is not program
    assert "site-packages" in str(package.__path__)


@pytest.mark.parametrize(
    ("variant", "kind"),
    [
        (Variant("paho", "threads"), "publish_qos0"),
        (Variant("gmqtt", "asyncio"), "publish_qos1"),
        (Variant("aiomqtt", "asyncio"), "receive"),
        (Variant("tidewire", "asyncio"), "publish_qos0"),
        (Variant("tidewire", "asyncio"), "publish_qos1"),
        (Variant("tidewire", "asyncio"), "receive"),
    ],
    ids=str,
)
def test_a_run_through_a_broker_gives_figures(variant: Variant, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with BrokerProcess() as broker:
        figures = measure.run(variant, kind, Running(broker.port, broker.process.pid), 200)
    assert figures["messages_per_s"] > 0
    assert figures["client_cpu_us_per_message"] > 0


def test_publishes_that_wait_are_counted_and_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(measure, "QUEUED", 20_000)
    figures = measure.run_queue(Variant("gmqtt", "asyncio"))
    assert figures["queued"] == 20_000
    assert figures["resident_bytes"] > 64


def test_a_client_that_loses_messages_has_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "STALL_S", 0.05)
    with BrokerProcess() as broker, measure.peer_of("publish_qos0", broker.port) as peer:
        lossy = child("print('{}')")
        with pytest.raises(ClientFailed, match="lost 10 of 10"):
            measure.count_arrivals(lossy, peer, 10)


def test_a_client_that_dies_has_its_last_words_reported(tmp_path: Path) -> None:
    with pytest.raises(ClientFailed, match="died: ValueError: no more"):
        child("raise ValueError('no more')", tmp_path / "errors").result()


def test_a_client_that_cannot_do_the_work_says_why() -> None:
    with pytest.raises(Unsupported, match="QoS 0 only"):
        child("""print('{"unsupported": "QoS 0 only"}')""").result()


def child(program: str, errors: Path = Path("/dev/null")) -> Child:
    """A process in place of a client program."""
    said = errors.open("w+b")
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=said)
    return Child(process, said)


def test_the_table_shows_the_better_loop_and_tidewire_by_the_best_of_the_others() -> None:
    document = {
        "clients": [
            {"client": name, "distribution": name, "version": "1"} for name in ("tidewire", "fast", "slow", "lossy")
        ],
        "results": [
            rate("tidewire", "asyncio", 900_000),
            rate("tidewire", "uvloop", 1_000_000),
            rate("fast", "asyncio", 250_000),
            rate("slow", "threads", 1_000),
            rate("lossy", "asyncio", 0) | {"median": {}, "failures": ["lost 3 of 9 messages"]},
        ],
    }
    assert table(document)[2:] == [
        "| tidewire 1 | 1,000 k (2 µs, uvloop) |",
        "| fast 1 | 250 k (2 µs, asyncio) **4×** |",
        "| slow 1 | 1 k (2 µs, threads) **1,000×** |",
        "| lossy 1 | lost 3 of 9 messages |",
        "| **Tidewire's by that of the best other** | **4×** fast |",
        "| aimed at | at least 3× |",
    ]


def rate(client: str, loop: str, messages_per_s: float) -> dict[str, Any]:
    median = {"messages_per_s": messages_per_s, "client_cpu_us_per_message": 2.0, "others_cpu_share": 0.0}
    return {"kind": "receive", "client": client, "loop": loop, "median": median, "failures": []}


def test_the_report_says_what_the_results_hold() -> None:
    document = json.loads((RESULTS / "clients.json").read_text())
    assert (RESULTS / "clients.md").read_text() == as_markdown(document)
