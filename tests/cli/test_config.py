"""Does `tidewire config` say what is wrong, what is in force, and what Mosquitto's file becomes?"""

from __future__ import annotations

import tomllib
from pathlib import Path

from tests.process import BrokerProcess, tidewire

EXIT_USAGE = 2


def test_a_good_file_is_said_to_be_good(tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    file.write_text("port = 1884\n")
    run = tidewire("config", "check", file)
    assert (run.returncode, run.stdout, run.stderr) == (0, f"{file}: nothing is wrong\n", "")


def test_all_mistakes_are_told_at_once_each_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    file.write_text("prot = 1884\n[limits]\nqueue_mesages = 1\n")
    run = tidewire("config", "check", file, TIDEWIRE_BACKLOG="0")
    assert (run.returncode, run.stdout) == (EXIT_USAGE, "")
    assert run.stderr.splitlines() == [
        f"tidewire: {file}, line 1: prot: there is no such key; did you mean port?",
        "tidewire: TIDEWIRE_BACKLOG: backlog: 0 must be at least 1",
        f"tidewire: {file}, line 3: limits.queue_mesages: does not exist; did you mean queue_messages?",
    ]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for command in ("check", "show", "import"):
        run = tidewire("config", command, tmp_path / "no.toml")
        assert (run.returncode, run.stdout) == (EXIT_USAGE, "")
        assert run.stderr == f"tidewire: cannot read {tmp_path}/no.toml: No such file or directory\n"


def test_a_file_that_is_none_of_mosquitto_is_not_imported(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text("[limits]\nqueue_messages = 5\n")
    run = tidewire("config", "import", file)
    assert (run.returncode, run.stdout) == (EXIT_USAGE, "")
    assert run.stderr.startswith(f"tidewire: {file} is no configuration of Mosquitto: ")
    assert run.stderr.count("\n") == 1


def test_the_environment_alone_can_be_checked() -> None:
    run = tidewire("config", "check", TIDEWIRE_PROT="1", TIDEWIRE_PORT="1")
    assert (run.returncode, run.stdout) == (0, "the environment: nothing is wrong\n")
    assert run.stderr == "tidewire: TIDEWIRE_PROT is no key of the configuration; did you mean TIDEWIRE_PORT?\n"


def test_what_is_in_force_is_file_and_environment_with_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    file.write_text("port = 1884\nbacklog = 5\n")
    run = tidewire("config", "show", file, TIDEWIRE_BACKLOG="7")
    assert (run.returncode, run.stderr) == (0, "")
    shown = tomllib.loads(run.stdout)
    assert (shown["port"], shown["backlog"], shown["accept_rate"]) == (1884, 7, 10_000)
    assert shown["limits"]["queue_messages"] == 10_000


def test_a_broker_starts_with_what_became_of_a_file_of_mosquitto(tmp_path: Path) -> None:
    theirs, ours = tmp_path / "mosquitto.conf", tmp_path / "broker.toml"
    theirs.write_text(f"listener 0 {tmp_path}/socket\nallow_anonymous true\npersistence true\n")
    run = tidewire("config", "import", theirs)
    assert run.returncode == 0
    assert run.stderr.startswith(f"{theirs}, line 3: persistence: ")
    ours.write_text(run.stdout)
    assert tidewire("config", "check", ours).returncode == 0
    with BrokerProcess("--config", ours) as broker:
        assert broker.addresses == [f"{tmp_path}/socket"]
        assert broker.connect("1", address=f"{tmp_path}/socket").connack.reason_code == 0
