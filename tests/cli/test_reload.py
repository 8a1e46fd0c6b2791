"""Does `tidewire reload` reach the broker that it names, and no other program?"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.process import BrokerProcess, tidewire

EXIT_USAGE = 2


def test_a_broker_is_told_by_its_process_file(tmp_path: Path) -> None:
    file = tmp_path / "broker.pid"
    with BrokerProcess("--pid-file", file) as broker:
        run = tidewire("reload", "--pid-file", file)
        said = f"told process {broker.process.pid}; its log says what came of it\n"
        assert (run.returncode, run.stdout, run.stderr) == (0, said, "")
        broker.wait_for("configuration reloaded")
        assert broker.stop() == 0
    assert not file.exists()


def test_a_broker_is_told_by_its_number() -> None:
    with BrokerProcess() as broker:
        assert tidewire("reload", "--pid", str(broker.process.pid)).returncode == 0
        broker.wait_for("configuration reloaded")


def test_a_process_file_that_was_left_behind_ends_nobody(tmp_path: Path) -> None:
    file = tmp_path / "broker.pid"
    file.write_text(f"{os.getpid()}\n")
    run = tidewire("reload", "--pid-file", file)
    assert (run.returncode, run.stdout) == (EXIT_USAGE, "")
    assert run.stderr == f"tidewire: the broker of {file} does not run any more\n"


@pytest.mark.parametrize("arguments", [[], ["--pid", "5", "--pid-file", "x"]])
def test_it_wants_to_know_which_broker(arguments: list[str]) -> None:
    run = tidewire("reload", *arguments)
    assert (run.returncode, run.stdout) == (EXIT_USAGE, "")
    assert run.stderr == "tidewire: say which broker: --pid-file FILE or --pid NUMBER\n"


def test_a_second_broker_cannot_take_the_process_file_of_the_first(tmp_path: Path) -> None:
    file = tmp_path / "broker.pid"
    with BrokerProcess("--pid-file", file):
        run = tidewire("serve", "--port", "0", "--pid-file", file)
        assert run.returncode == EXIT_USAGE
        assert run.stderr == f"tidewire: {file} is held by a broker that runs; stop it, or name another file\n"


def test_unknown_variables_are_told_in_the_log_when_a_broker_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEWIRE_BNID", "::1")
    with BrokerProcess() as broker:
        broker.wait_for("environment: TIDEWIRE_BNID is no key of the configuration; did you mean TIDEWIRE_BIND")
