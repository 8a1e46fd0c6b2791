"""Does `tidewire serve` refuse what it cannot do in one clear line with exit status 2, and else do what it was told?"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.cli.running import run
from tests.process import BrokerProcess, tidewire
from tidewire.access.passwords import set_password
from tidewire.server.config import check_exposure, read_config

WIDE = ["0.0.0.0", "::", "192.0.2.1", "2001:db8::1", "broker.example"]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of 127.0.0.1 that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def passwords(tmp_path: Path) -> Path:
    file = tmp_path / "passwords"
    set_password(file, "alice", b"secret")
    return file


def refusal(*arguments: str | Path) -> str:
    """What `tidewire serve` says when it refuses to start."""
    run = tidewire("serve", *arguments)
    assert run.returncode == 2, run.stderr
    assert run.stdout == ""
    assert run.stderr.startswith("tidewire: ")
    assert run.stderr.count("\n") == 1
    return run.stderr.removeprefix("tidewire: ").removesuffix("\n")


def test_a_taken_port_is_named_with_another_to_choose(taken: int) -> None:
    assert refusal("--port", str(taken)) == (
        f"port {taken} of 127.0.0.1 is taken; stop what listens there, or choose another: --port {taken + 1}"
    )


def test_a_missing_configuration_file_is_named(tmp_path: Path) -> None:
    assert refusal("--config", tmp_path / "no.toml") == f"cannot read {tmp_path}/no.toml: No such file or directory"


def test_a_directory_is_no_configuration_file(tmp_path: Path) -> None:
    assert refusal("--config", tmp_path) == f"cannot read {tmp_path}: Is a directory"


def test_an_unknown_key_of_the_configuration_is_answered_with_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    file.write_text("prot = 1883\n")
    assert refusal("--config", file) == f"{file}, line 1: prot: there is no such key; did you mean port?"


@pytest.mark.parametrize("address", ["::1%no-such-interface", "a" * 64])
def test_what_is_no_address_is_named(address: str, passwords: Path) -> None:
    said = refusal("--port", "0", "--bind", address, "--password-file", passwords)
    assert said == f"'{address}' is not an address of this machine"


def test_an_address_of_another_machine_is_named(passwords: Path) -> None:
    said = refusal("--port", "0", "--bind", "192.0.2.1", "--password-file", passwords)
    assert said == "'192.0.2.1' is not an address of this machine"


@pytest.mark.parametrize("address", WIDE)
def test_strangers_are_not_served_without_credentials(address: str) -> None:
    said = refusal("--port", "0", "--bind", "127.0.0.1", "--bind", address)
    assert said.startswith(f"refusing to listen on {address} where anybody could connect: ")
    assert said.endswith(f": tidewire init --bind {address}")


def test_the_command_that_a_refusal_names_makes_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = refusal("--port", "0", "--bind", "0.0.0.0")
    monkeypatch.chdir(tmp_path)
    assert run(*said.rpartition("tidewire ")[2].split()).exit_code == 0
    config = read_config(tmp_path / "broker.toml")
    assert [listener.bind for listener in config.listeners] == [["0.0.0.0"]]
    check_exposure(config)


@pytest.mark.parametrize(("address", "local"), [("0.0.0.0", "127.0.0.1"), ("::", "::1")])
def test_a_wide_address_is_served_to_those_with_a_password(address: str, local: str, passwords: Path) -> None:
    with BrokerProcess("--bind", address, "--password-file", passwords) as broker:
        at = (local, broker.port)
        assert broker.connect("1", address=at, user_name="alice", password=b"secret").connack.reason_code == 0
        assert broker.connect("2", address=at, user_name="alice", password=b"sceret").connack.reason_code == 4
        assert broker.connect("3", address=at).connack.reason_code == 5
        assert broker.connect("4", version=5, address=at).connack.reason_code == 0x87


def test_a_wide_address_is_served_to_everybody_where_the_file_says_so(tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    file.write_text('bind = ["0.0.0.0"]\nport = 0\n[access]\nanonymous = true\n')
    with BrokerProcess("--config", file) as broker:
        assert broker.connect("1").connack.reason_code == 0


def test_a_missing_password_file_is_named(tmp_path: Path) -> None:
    said = refusal("--password-file", tmp_path / "no")
    assert said == f"cannot read the password file {tmp_path}/no: No such file or directory"


def test_a_broken_password_file_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    file.write_text("# people\nalice:secret\n")
    assert refusal("--password-file", file).startswith(f"{file}, line 2: this is no hash that is read")


def test_options_win_over_the_configuration_file(tmp_path: Path, taken: int, passwords: Path) -> None:
    file = tmp_path / "broker.toml"
    file.write_text(f'bind = ["192.0.2.1"]\nport = {taken}\nlog_level = "error"\nunix_socket = "/no/such/place"\n')
    unix_socket = str(tmp_path / "socket")
    arguments = ["--bind", "127.0.0.1", "--port", "0", "--log-level", "debug", "--unix-socket", unix_socket]
    with BrokerProcess("--config", file, "--password-file", passwords, *arguments) as broker:
        assert broker.addresses == [f"127.0.0.1:{broker.port}", unix_socket]
        assert broker.connect("1").connack.reason_code == 5
        broker.wait_for("refused")


def test_without_options_it_serves_this_machine_only() -> None:
    with BrokerProcess() as broker:
        assert broker.addresses[0] == f"127.0.0.1:{broker.port}"
        assert broker.addresses[1:] in ([f"[::1]:{broker.port}"], [])


def test_it_runs_on_uvloop_where_there_is_one_and_says_so() -> None:
    with BrokerProcess() as broker:
        loop = broker.wait_for(r"tidewire \S+ \(\w+, (\w+)\) serves MQTT on").group(1)
    assert loop == ("uvloop" if find_spec("uvloop") else "asyncio")


def test_the_help_tells_every_option_and_default() -> None:
    run = tidewire("serve", "--help", COLUMNS="200")
    assert run.returncode == 0
    for option in ("--bind", "--port", "--unix-socket", "--config", "--password-file", "--log-level"):
        assert f" {option} " in run.stdout
    for default in ("[default: loopback]", "[default: 1883]", "[default: info]"):
        assert default in run.stdout
    assert "tidewire serve --bind 0.0.0.0 --password-file passwords.txt" in run.stdout
