"""Can commands be typed and listed, and what is said of those that cannot be?"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from examples.vehicle.__main__ import main
from examples.vehicle.dashboard.control import TOURS, words
from examples.vehicle.drive import Step, Wait, parse, read_list
from examples.vehicle.messages import AnyCommand, Doors, Lights, ParkingBrake, Rotation, Speed, Stop


@pytest.mark.parametrize(
    ("typed", "step"),
    [
        ("speed 5", Speed(5)),
        ("rotation -90", Rotation(-90)),
        ("doors lock", Doors("lock")),
        ("lights on", Lights(True)),
        ("parking-brake off", ParkingBrake(False)),
        ("stop", Stop()),
        ("wait 2", Wait(2)),
    ],
)
def test_a_command_is_its_name_and_its_value(typed: str, step: Step) -> None:
    assert parse(typed.split()) == step


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (Speed(5), "speed 5"),
        (ParkingBrake(False), "parking brake off"),
        (Doors("lock"), "doors lock"),
        (Stop(), "stop"),
    ],
)
def test_a_command_is_shown_as_it_is_typed(command: AnyCommand, shown: str) -> None:
    assert words(command) == shown


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [
        ("fly 3", "there are: doors, lights, parking_brake, speed, heading, rotation, stop, wait"),
        ("speed", "speed takes metres per second from -3 to 30, not none"),
        ("speed 5 6", "speed takes metres per second from -3 to 30, not 5 6"),
        ("stop now", "stop takes no value, not now"),
        ("speed fast", "speed takes metres per second from -3 to 30, not fast"),
        ("speed nan", "speed takes metres per second from -3 to 30, not nan"),
        ("speed 31", "speed takes metres per second from -3 to 30, not 31"),
        ("wait -1", "wait takes seconds from 0 to 3600, not -1"),
        ("heading 360", "heading takes degrees from 0 to below 360, not 360"),
        ("parking-brake maybe", "parking_brake takes on or off, not maybe"),
        ("doors slam", "doors takes close or lock or open or unlock, not slam"),
    ],
)
def test_what_cannot_be_is_one_line_with_the_mend(typed: str, complaint: str) -> None:
    result = CliRunner().invoke(main, ["drive", "raspberry-pi", "--", *typed.split()])
    assert result.exit_code == 1
    assert complaint in result.output
    assert len(result.output.splitlines()) == 1


def test_a_list_is_read_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "list.jsonl"
    file.write_text('{"do":"speed","metres_per_second":5}\n\n{"do":"wait","seconds":2}\n{"do":"stop"}\n')
    assert read_list(file) == [Speed(5), Wait(2), Stop()]


def test_a_wrong_line_of_a_list_is_named(tmp_path: Path) -> None:
    file = tmp_path / "list.jsonl"
    file.write_text('{"do":"stop"}\n{"do":"wait","minutes":2}\n')
    with pytest.raises(ValueError, match=r"list\.jsonl, line 2: .*minutes"):
        read_list(file)


@pytest.mark.parametrize("file", sorted(TOURS.glob("*.jsonl")), ids=lambda file: file.stem)
def test_every_tour_can_be_driven_and_gives_time_to_breathe(file: Path) -> None:
    steps = read_list(file)
    assert sum(step.seconds for step in steps if isinstance(step, Wait)) > 10


def test_it_says_which_file_is_missing_for_tls(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        main, ["drive", "robin", "stop", "--url", "mqtts://localhost:1", "--certificates", str(tmp_path)]
    )
    assert result.exit_code == 1
    assert f"ca.pem is missing; tidewire certs make {tmp_path} --client driver-of-robin" in result.output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["drive", "a/+", "stop"], "'a/+' is no name"),
        (["drive", "robin"], "name a --list FILE"),
        (["drive", "robin", "stop", "--list", "x.jsonl"], "name a --list FILE"),
        (["drive", "robin", "--list", "/nowhere/x.jsonl"], "cannot read /nowhere/x.jsonl: No such file or directory"),
        (["--wrong"], "No such option"),
        (["drive"], "Missing argument"),
        (["drive", "robin", "stop", "--url", "gopher://localhost"], "gopher"),
        (["drive", "robin", "stop", "--url", "mqtt://127.0.0.1:1"], "nothing listens there"),
        (["board", "robin", "--answered", "/nowhere/x"], "give --answered a file that can be written"),
    ],
)
def test_a_wrong_line_is_told_in_one(arguments: list[str], complaint: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit)
    [line] = result.output.splitlines()
    assert line.startswith("vehicle: ")
    assert complaint in line


@pytest.mark.parametrize("arguments", [["--port"], ["--page-port"], ["dashboard", "--port"]], ids=" ".join)
def test_a_port_that_is_taken_is_told_before_anything_is_started(arguments: list[str], tmp_path: Path) -> None:
    pytest.importorskip("nicegui", reason="the page needs NiceGUI; pip install 'tidewire[console]'")
    directory = tmp_path / "fleet"
    place = [] if "dashboard" in arguments else ["--directory", str(directory)]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        result = CliRunner().invoke(main, [*place, *arguments, str(port)])
    told = f"vehicle: port {port}: Address already in use; take another with {arguments[-1]}, or any with 0\n"
    assert (result.exit_code, result.output) == (1, told)
    assert not list(directory.rglob("*"))


def test_certificates_that_are_none_are_told_in_one_line(tmp_path: Path) -> None:
    for file in ("ca.pem", "driver-of-robin.pem", "driver-of-robin.key"):
        (tmp_path / file).write_text("nothing")
    result = CliRunner().invoke(main, ["drive", "robin", "stop", "--url", "mqtts://x", "--certificates", str(tmp_path)])
    assert result.exit_code == 1
    assert "make them anew" in result.output
