"""What is typed: `python -m examples.vehicle` for everything, and each part alone."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import click

from examples.ending import until_told
from examples.mistakes import OneLine
from examples.vehicle.answered import Answered
from examples.vehicle.board import Board
from examples.vehicle.commander import Commander
from examples.vehicle.drive import Step, parse, play, read_list
from examples.vehicle.driver import Driver
from examples.vehicle.fleet import CONTROL_ROOM, driver_of, run_fleet
from examples.vehicle.link import Link
from examples.vehicle.messages import Motion, encode
from examples.vehicle.physics import Abilities
from examples.vehicle.simulation import SimulatedVehicle
from examples.vehicle.vehicle import Vehicle
from tidewire import TidewireError

F = TypeVar("F", bound=Callable[..., Any])


def broker_options(command: F) -> F:
    """Where the broker is; any MQTT 5.0 broker will do."""
    command = click.option(
        "--certificates",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="Where ca.pem is, and NAME.pem and NAME.key of whoever connects.",
    )(command)
    return click.option("--url", default="mqtt://localhost", show_default=True, help="The broker.")(command)


def _check_name(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """A vehicle's name is one level of its topics and the name of its files."""
    if not re.fullmatch(r"[A-Za-z0-9][\w-]{0,31}", value, re.ASCII):
        raise click.BadParameter(f"{value!r} is no name: take up to 32 letters, digits, - and _")
    return value


@click.group(
    "vehicle", cls=OneLine, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "--directory",
    "-d",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keeps certificates, broker.toml and what the broker knows. [default: a temporary one]",
)
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Of the broker. [default: any that is free]")
@click.option("--page-port", type=click.IntRange(0, 65_535), default=8090, show_default=True, help="0: any.")
@click.pass_context
def main(context: click.Context, directory: Path | None, port: int, page_port: int) -> None:
    """Start a broker, three vehicles and the page to control them, until Ctrl-C."""
    if context.invoked_subcommand is None:
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() if directory is None else nullcontext(directory) as place:
            _run(run_fleet(Path(place), port, page_port))


@main.command()
@click.argument("name", callback=_check_name)
@broker_options
@click.option(
    "--driver",
    type=click.Choice(["simulation", "gpio"]),
    default="simulation",
    show_default=True,
    help="gpio: a vehicle on the pins of this Raspberry Pi; examples/vehicle/gpio.py has their table.",
)
@click.option("--telemetry-rate", type=click.FloatRange(0.01, 20), default=5, show_default=True, help="A second.")
@click.option(
    "--speed-maximum",
    type=click.FloatRange(0.1, 30),
    default=12,
    show_default=True,
    help="Metres a second; with gpio, at full duty cycle.",
)
@click.option("--east", type=float, default=0.0, help="Where it stands at first, in metres.")
@click.option("--north", type=float, default=0.0)
@click.option("--answered", type=click.Path(path_type=Path), metavar="FILE", help="Remembers commands over restarts.")
def board(
    name: str,
    url: str,
    certificates: Path | None,
    driver: str,
    telemetry_rate: float,
    speed_maximum: float,
    east: float,
    north: float,
    answered: Path | None,
) -> None:
    """Be the board of the vehicle NAME."""
    try:
        memory = Answered(answered)
    except sqlite3.Error as error:
        raise click.ClickException(f"{answered}: {error}; give --answered a file that can be written") from None
    drives = _driver(driver, speed_maximum, Motion(east, north))
    vehicle = Vehicle(drives, speed_maximum, memory)
    _run(Board(Link(url, name, certificates), vehicle, drives, telemetry_rate).run())


def _driver(kind: str, speed_maximum: float, motion: Motion) -> Driver:
    if kind == "simulation":
        return SimulatedVehicle(Abilities(speed_maximum), motion)
    try:
        from examples.vehicle.gpio import GpioVehicle  # noqa: PLC0415 (only a board with pins has gpiozero)
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error.name} is not installed; pip install gpiozero lgpio") from None
    return GpioVehicle(speed_maximum, motion)


@main.command()
@click.argument("vehicle", callback=_check_name)
@click.argument("words", nargs=-1)
@click.option("--list", "-l", "file", type=click.Path(path_type=Path, dir_okay=False), help="JSON lines instead.")
@click.option("--repeat", type=click.IntRange(1), default=1, show_default=True, help="How often.")
@click.option("--as", "user", metavar="NAME", help="Whose certificate to use. [default: driver-of-VEHICLE]")
@broker_options
def drive(
    vehicle: str,
    words: tuple[str, ...],
    file: Path | None,
    repeat: int,
    user: str | None,
    url: str,
    certificates: Path | None,
) -> None:
    """Tell VEHICLE something and wait for its answers; status 1 if it refuses anything.

    \b
    Examples:
      drive raspberry-pi parking-brake off
      drive raspberry-pi speed 5
      drive raspberry-pi rotation -- -90
      drive raspberry-pi --list examples/vehicle/tours/raspberry-pi.jsonl
    """
    if bool(words) == bool(file):
        raise click.UsageError("say what to do, as in `speed 5`, or name a --list FILE")
    try:
        steps = read_list(file) if file is not None else [parse(words)]
    except OSError as error:
        raise click.ClickException(f"cannot read {file}: {error.strerror}") from None
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    if _run(_drive(Link(url, user or driver_of(vehicle), certificates), vehicle, steps * repeat), ended=130):
        sys.exit(1)


async def _drive(link: Link, vehicle: str, steps: list[Step]) -> int:
    """How many commands were refused."""
    refused = 0
    async with link.client("") as client:
        async for command, answer in play(Commander(client), vehicle, steps):
            response = answer.response
            refused += response.result == "refused"
            what = f"{response.result}: {response.reason}" if response.reason else response.result
            click.echo(f"{encode(command).decode()}  {what}  {answer.seconds * 1000:.1f} ms")
    return refused


@main.command()
@broker_options
@click.option("--as", "user", default=CONTROL_ROOM, show_default=True, metavar="NAME", help="Whose certificate to use.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8090, show_default=True, help="Of the page; 0: any.")
@click.option("--tour", is_flag=True, help="Send every vehicle on its tour at once.")
def dashboard(url: str, certificates: Path | None, user: str, port: int, tour: bool) -> None:
    """Serve the page, on this machine only: whoever opens it may drive."""
    try:
        from examples.vehicle.dashboard.program import serve  # noqa: PLC0415 (boards and drivers need no NiceGUI)
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error.name} is not installed; pip install 'tidewire[console]'") from None
    _run(serve(Link(url, user, certificates), port, tour))


R = TypeVar("R")


def _run(work: Coroutine[Any, Any, R], ended: int = 0) -> R:
    """Run it to its end, or until it is told to: then `ended` is the status. What is wrong outside is one line."""
    try:
        return asyncio.run(until_told(work))
    except asyncio.CancelledError:
        sys.exit(ended)
    except (OSError, TidewireError) as error:
        raise click.ClickException(str(error)) from None
    except BaseExceptionGroup as group:
        told, _ = group.split((OSError, TidewireError))
        if told is None:
            raise
        raise click.ClickException(str(told.exceptions[0])) from None


if __name__ == "__main__":
    main(prog_name="python -m examples.vehicle")
