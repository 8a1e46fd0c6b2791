"""Does the measurement of durability run on a broker, lose sight of nothing, and say what it found?"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.durable.brokers import FULL, MEMORY, MOSQUITTO, durable_brokers, kept
from benchmarks.durable.report import COLUMNS, aims, as_markdown, disk_of
from benchmarks.durable.work import QUICK, Committed, all_work
from benchmarks.load.clients import BrokerFailed, close_clients, open_clients
from benchmarks.load.sessions import leave_sessions, publish_each, seconds_to_collect
from benchmarks.load.tape import Tape

ROOT = Path(__file__).parent.parent.parent
NAMES = [FULL] if shutil.which("mosquitto") is None else [FULL, MOSQUITTO]


def test_a_quick_run_measures_all_there_is_to_measure(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.durable",
        "--quick",
        "--results",
        str(tmp_path),
        "--disk",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "durable.json").read_text())
    assert {"tidewire", "disk", "processor"} <= set(document["about"])
    for each in all_work(QUICK):
        for result in [result for result in document["results"] if result["work"] == each.key]:
            assert not result["failures"], (each.key, result["broker"], result["failures"])
            for column in COLUMNS[each.key].values():
                assert column(result["median"])
    assert {(result["work"], result["broker"]) for result in document["results"]} == {
        (each.key, name) for each in all_work(QUICK) for name in each.brokers if name in (*NAMES, MEMORY)
    }
    assert (tmp_path / "durable.md").read_text() == as_markdown(document)


def test_a_broker_that_lost_acknowledged_messages_in_its_restart_has_no_figure(tmp_path: Path) -> None:
    (forgetful,) = durable_brokers([MEMORY])
    with pytest.raises(BrokerFailed, match=r"^0 of [1-9][0-9]* messages outlived the restart$"):
        Committed(QUICK).run(forgetful, tmp_path, 0)


def test_a_session_that_gets_more_than_was_due_to_it_fails_its_run(tmp_path: Path) -> None:
    (broker,) = durable_brokers([MEMORY])
    tape = Tape([b"away"], [64], 1)
    with kept(broker, tmp_path) as running:
        leave_sessions(running.port, ["first", "second"], [b"away", b"away"])
        (client,) = open_clients(running.port, 1, "publisher")
        publish_each(client, [b"away"] * 1200, 64, False)
        assert seconds_to_collect(running.port, "first", tape, 1200) > 0
        with pytest.raises(BrokerFailed):
            seconds_to_collect(running.port, "second", tape, 1100)
        close_clients([client])


def test_what_falls_short_of_its_aim_is_called_missed() -> None:
    document = {
        "results": [
            committed(FULL, 90_000.0),
            committed(MOSQUITTO, 60_000.0),
            {"work": "away", "broker": FULL, "median": {"live_s": 0.01, "restarted_s": 1.5}, "runs": []},
        ]
    }
    assert aims(document)[2:] == [
        "| committed per second, sessions away | 90,000 | at least 100,000, **missed** |",
        "| that rate by Mosquitto's | 1.50× | at least 1.00× |",
        "| seconds for a subscriber that was away | 0.010 | at most 1.000 |",
        "| the same after a restart | 1.500 | at most 1.000, **missed** |",
    ]


def committed(broker: str, rate: float) -> dict[str, Any]:
    runs = [{"deliveries_per_s": rate * factor} for factor in (0.5, 1.0, 1.2)]
    return {"work": "committed", "broker": broker, "median": {"deliveries_per_s": rate}, "runs": runs}


def test_the_file_system_that_is_measured_on_is_named() -> None:
    assert disk_of(Path("/proc")).startswith("proc on ")
