"""Does `tidewire overhead` show what was asked for, and say in one line what is wrong?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.mosquitto import OURS
from tests.cli.running import run
from tests.process import PATIENCE_S, tidewire
from tidewire.overhead import protocols

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only the kernel of Linux counts segments")


def shown(*arguments: str | Path) -> str:
    ended = run("overhead", *arguments)
    assert (ended.exit_code, ended.stderr) == (0, "")
    return ended.stdout


def found(*arguments: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(shown("--json", *arguments))
    return report


def test_what_was_asked_for_is_measured_and_nothing_else() -> None:
    report = found("--only", "costs", "--transport", "tls", "--version", "5.0", "--qos", "2", "--payload", "7")
    assert [each["form"] for each in report["exchanges"]] == [
        {"transport": "tls", "version": "5.0", "alias": alias} for alias in (False, True)
    ]
    assert {stage["qos"] for each in report["exchanges"] for stage in each["stages"]} == {None, 2}
    assert report["message"]["payload_bytes"] == 7
    assert (report["others"], report["missing"]) == ([], [])
    [publish] = [each for each in report["exchanges"][0]["stages"] if each["name"] == "publish"]
    assert publish["traffic"]["sent"]["payload"] == 7


def test_every_transport_version_and_qos_is_measured_without_a_choice() -> None:
    report = found("--only", "month", "--every", "5m", "--keep-alive", "120")
    forms = [tuple(each["form"].values()) for each in report["exchanges"]]
    ways = [("3.1.1", False), ("5.0", False), ("5.0", True)]
    assert forms == [(transport, *way) for transport in ("tcp", "tls", "ws", "wss") for way in ways]
    assert report["schedule"] == {"every_s": 300.0, "keep_alive_s": 120}
    assert report["wake_ups"] == 8640 * 3  # two pings between two messages
    assert len(report["months"]) == len(forms) * 3


def test_the_parts_come_in_their_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(protocols, "FAMILIES", {})
    drawing = tmp_path / "cost.svg"
    text = shown("--transport", "tcp", "--qos", "1", "--svg", drawing)
    parts = [
        "Bytes of each stage",
        "bytes by layer",
        "broker",
        "MB in 30 days",
        "The same message",
        "Bytes of one",
        "How it",
    ]
    assert [text.index(part) for part in parts] == sorted(text.index(part) for part in parts)
    assert "PUBACK" in drawing.read_text(encoding="utf-8")


def test_a_version_that_is_chosen_has_its_layers_shown() -> None:
    text = shown("--only", "layers", "--transport", "tcp", "--version", "3.1.1", "--qos", "0")
    assert text.startswith("MQTT 3.1.1 · TCP: bytes by layer")
    assert "publish QoS 0" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--every", "often"], "'often' is no time up to 30 days; write 30s, 5m, 2h or 1d"),
        (["--every", "0"], "'0' is no time up to 30 days"),
        (["--every", "31d"], "'31d' is no time up to 30 days"),
        (["--alias", "--version", "3.1.1"], "topic aliases are new in MQTT 5.0; leave out --alias"),
        (["--topic", "sensors/#"], "--topic: "),
        (["--topic", "$SYS/uptime"], "--topic: '$SYS/uptime' is the broker's own"),
        (["--topic", "\udcff"], "--topic: topics are written in UTF-8"),
        (["--qos", "3"], "'3' is not one of '0', '1', '2'"),
        (["--svg", "/no/such/directory/cost.svg"], "cannot write /no/such/directory/cost.svg"),
    ],
)
def test_a_mistake_is_one_clear_line(arguments: list[str], said: str) -> None:
    ended = run("overhead", *arguments)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_what_is_being_measured_is_said_to_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ("--only", "layers", "--transport", "tcp", "--version", "3.1.1", "--qos", "0")
    assert tidewire("overhead", *flags).stderr == ""
    controlling, terminal = os.openpty()
    process = subprocess.Popen([*OURS, "overhead", *flags], stdout=subprocess.DEVNULL, stderr=terminal)
    assert process.wait(PATIENCE_S) == 0
    os.close(terminal)
    assert b"measuring " in os.read(controlling, 65_536)
    os.close(controlling)
    told = " ".join(run("overhead", "--help").stdout.split())
    assert "stands on standard error meanwhile where that is a terminal, and nothing does elsewhere" in told


def test_a_kernel_that_does_not_count_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    ended = run("overhead", "--only", "costs", "--transport", "tcp")
    assert (ended.exit_code, ended.stdout) == (14, "")
    assert ended.stderr.startswith("tidewire: only the kernel of Linux (4.19 or newer) counts the segments")
