"""Does `tidewire doctor` say what is wrong to people and to programs, and end with the status that goes with it?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.running import run
from tidewire.server import doctor


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A broker for this machine, on one with compiled modules and enough open files."""
    monkeypatch.setattr(doctor, "form", lambda: "compiled")
    monkeypatch.setattr(doctor, "open_files", lambda: 65_536)
    file = tmp_path / "broker.toml"
    file.write_text("port = 0\n")
    return file


def test_where_nothing_is_wrong_it_says_so_with_status_0(config: Path) -> None:
    result = run("doctor", "--config", config)
    assert (result.exit_code, result.output) == (0, "nothing is wrong\n")


def test_what_is_wrong_is_a_line_with_status_1(config: Path) -> None:
    config.chmod(0o666)
    result = run("doctor", "-c", config)
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout == f"wrong: rights: everybody may change {config}; chmod o-w {config}\n"


def test_a_hint_is_a_line_with_status_0(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "form", lambda: "pure")
    result = run("doctor", "-c", config)
    assert result.exit_code == 0
    assert [line.partition(":")[0] for line in result.stdout.splitlines()] == ["hint", "nothing is wrong"]


def test_programs_get_the_same_as_json(config: Path) -> None:
    assert json.loads(run("doctor", "-c", config, "--json").stdout) == []
    config.chmod(0o666)
    result = run("doctor", "-c", config, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == [
        {
            "severity": "wrong",
            "area": "rights",
            "problem": f"everybody may change {config}",
            "mend": f"chmod o-w {config}",
        }
    ]


def test_without_a_configuration_it_looks_at_a_broker_without_one(config: Path) -> None:
    config.write_text("[[listener]\n")
    assert run("doctor", "-c", config).stdout.startswith(f"wrong: config: {config}, line 1: ")
    assert f"{config}" not in run("doctor").stdout
