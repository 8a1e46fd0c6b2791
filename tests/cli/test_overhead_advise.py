"""Does `tidewire overhead advise` read the meter of a broker, and say what its clients would save?"""

from __future__ import annotations

import json
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import run
from tests.overhead.meters import row
from tests.process import BrokerProcess
from tests.store.stores import batch_of
from tidewire.store.meter_rows import Metered, encoded
from tidewire.store.sqlite import StoreFile
from tidewire.wire.packets import Acknowledgement, Disconnect, Publish

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only the kernel of Linux counts segments")


def stored(told: Metered, name: str, period: str) -> tuple[Any, ...]:
    return "client", period, name, "anna", encoded(told).decode()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a store of October's last ten days."""
    directory = tmp_path_factory.mktemp("advise") / "data"
    directory.mkdir()
    file = StoreFile(directory / "broker.db")
    file.open()
    often, seldom = row("5.0", {1: 1000}, pings=10, tcp_ip=160_000), row("3.1.1", {0: 1}, tcp_ip=5000)
    total = ("total", "2026-10", "", None, encoded(often).decode())
    rows = [stored(often, "sensor\x1b[2J", "2026-10"), stored(seldom, "button", "2026-10"), total]
    rows += [stored(often, "sensor\x1b[2J", f"2026-10-{day}") for day in (22, 31)]
    file.write(batch_of(metered=rows))
    with closing(file):
        pass
    return directory


@pytest.fixture(scope="module")
def exchanges(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `tidewire overhead --json` has printed."""
    file = tmp_path_factory.mktemp("exchanges") / "tcp.json"
    ended = run("overhead", "--transport", "tcp", "--only", "costs", "--json")
    assert ended.exit_code == 0, ended.stderr
    file.write_text(ended.stdout, encoding="utf-8")
    return file


def said(*arguments: str | Path) -> str:
    ended = run("overhead", "advise", *arguments)
    assert (ended.exit_code, ended.stderr) == (0, "")
    return ended.stdout


def test_each_client_is_advised_with_the_arithmetic_and_what_was_assumed(data: Path, exchanges: Path) -> None:
    text = said("--data", data, "--exchanges", exchanges, "--table", "--per-mb", "2")
    lines = text.splitlines()
    assert lines[0] == r"sensor\x1b[2J, user anna: MQTT 5.0, TCP"
    assert lines[1].startswith("  2026-10: ") and " B in 10 d, which is " in lines[1]
    assert "  publish at QoS 0 in place of 1" in lines
    assert any(line.startswith("    now   1 000 × ") for line in lines)
    assert "There is nothing to save" in text[text.index("button, user anna: MQTT 3.1.1, TCP") :]
    assert lines[lines.index("What was assumed") + 1].startswith("  - each change is reckoned by itself")


def test_into_a_pipe_it_goes_as_lines_of_json(data: Path, exchanges: Path) -> None:
    [found] = map(json.loads, said("--data", data, "--exchanges", exchanges, "--per-mb", "2", "sensor*").splitlines())
    assert (found["user"], found["period"], found["observed_s"]) == ("anna", "2026-10", 10 * 86_400)
    qos = next(advice for advice in found["advice"] if advice["change"] == "publish at QoS 0 in place of 1")
    assert qos["month"]["bytes"] == 3 * qos["metered"]["bytes"]
    assert qos["money"] == pytest.approx(qos["month"]["bytes"] / 1e6 * 2)
    [now] = qos["now"]
    assert (now["count"], now["what"], now["each"]["payload"]) == (1000, "publish QoS 1", 20)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--period", "2026-10-*"], "'2026-10-*' is none; write day, month, 2026-11 or 2026-11-21"),
        (["--data", "no such directory"], "there is no store in no such directory"),
        (["--exchanges", "no such file"], "cannot read no such file: No such file or directory"),
        (["--exchanges", __file__], "is not what `tidewire overhead --json` prints: "),
        (["--per-mb", "-1"], "-1.0 is not a number from 0 on"),
    ],
)
def test_a_mistake_is_one_clear_line(data: Path, arguments: list[str], fault: str) -> None:
    ended = run("overhead", "advise", "--data", data, *arguments)
    assert (ended.exit_code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert fault in ended.stderr


def test_exchanges_that_do_not_suffice_are_named(data: Path, tmp_path: Path) -> None:
    few = tmp_path / "few.json"
    few.write_text(run("overhead", "--transport", "tcp", "--version", "5.0", "--only", "costs", "--json").stdout)
    ended = run("overhead", "advise", "--data", data, "--exchanges", few)
    assert (ended.exit_code, ended.stderr.count("\n")) == (2, 1)
    assert "there is no exchange of MQTT 3.1.1 · TCP to reckon with; measure it: tidewire overhead" in ended.stderr


def test_options_of_overhead_before_advise_are_refused() -> None:
    ended = run("overhead", "--json", "advise")
    assert ended.exit_code == 2
    assert ended.stderr == "tidewire: --json is not for advise, or stands after it; see advise --help\n"


def test_who_was_not_metered_is_said(data: Path) -> None:
    ended = run("overhead", "advise", "--data", data, "--table", "nobody")
    assert (ended.exit_code, ended.output) == (0, "tidewire: 'nobody' was not metered in that time\n")


def test_what_a_broker_has_metered_is_advised_by_exchanges_that_are_performed_now(tmp_path: Path) -> None:
    with BrokerProcess("--data", tmp_path / "data") as broker:
        client = broker.connect("sensor", 5)
        for number in range(1, 21):
            client.send(Publish(b"plant/1/speed", b"x" * 100, 1, packet_identifier=number))
            assert isinstance(client.receive(), Acknowledgement)
        client.send(Disconnect())
        broker.wait_for(" disconnected ")
        assert broker.stop() == 0
    day = datetime.now(UTC).date().isoformat()
    [found] = map(json.loads, said("--data", tmp_path / "data", "--period", "day").splitlines())
    assert (found["client"], found["period"]) == ("sensor", day)
    assert found["habits"]["published"] == {"by_qos": [0, 20, 0], "payload_bytes": 100, "topic_bytes": 13}
    assert {"publish at QoS 0 in place of 1", "publish 10 payloads in one message"} <= {
        advice["change"] for advice in found["advice"]
    }
