"""What is started by `make vehicle`? Certificates, rules, and a process each for broker, boards and page."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from string import Template
from typing import Final, NoReturn

from msgspec import Struct

from examples.mistakes import listen
from examples.vehicle.messages import topic

READY_S: Final = 60.0
"""How long a process may take to be ready on a slow machine."""

ENDING_S: Final = 10.0
"""How long it may take to end before it is killed."""

AGAIN_S: Final = 1.0
"""How long after its unexpected end a process is started again."""

CONTROL_ROOM: Final = "control-room"
"""The user of the page, who may command every vehicle."""


class Kind(Struct, frozen=True):
    """A board with the vehicle that it drives."""

    name: str
    telemetry_per_second: float
    """What board and battery have power for."""
    speed_maximum: float
    east: float
    north: float


FLEET: Final = (
    Kind("raspberry-pi", 10, 12, -40, -20),
    Kind("dragonboard", 5, 16, 10, 30),
    Kind("beaglebone", 2, 8, 35, -25),
)


def driver_of(vehicle: str) -> str:
    """The user who may command this vehicle and no other."""
    return f"driver-of-{vehicle}"


_BROKER: Final = Template("""\
data = "$directory/data"
bind = []

[[listener]]
bind = ["127.0.0.1"]
port = $port

[listener.tls]
certificate = "$directory/certificates/server.pem"
key = "$directory/certificates/server.key"
client_ca = "$directory/certificates/ca.pem"
client_certificate = "required"
revocation_list = "$directory/certificates/crl.pem"
identity = "common_name"
""")


def configuration(directory: Path, port: int, vehicles: list[str]) -> str:
    """The broker's file: encrypted, a certificate for everybody, and what nobody allows is denied."""
    rules: list[str] = []
    for vehicle in vehicles:
        rules += _rules(vehicle, "subscribe", "publish", vehicle)
        rules += _rules(driver_of(vehicle), "publish", "subscribe", vehicle)
    rules += _rules(CONTROL_ROOM, "publish", "subscribe", "+")
    return _BROKER.substitute(directory=directory, port=port) + "".join(rules)


def _rules(user: str, commands: str, said: str, vehicle: str) -> Iterator[str]:
    """What a user may do with the commands of a vehicle, and with what the vehicle says."""
    allowed = [(commands, topic(vehicle, "commands"))]
    allowed += [(said, topic(vehicle, what)) for what in ("responses", "telemetry", "state")]
    for action, about in allowed:
        yield f'\n[[access.rules]]\neffect = "allow"\nuser = "{user}"\naction = "{action}"\ntopic = "{about}"\n'


async def prepare(directory: Path, port: int, vehicles: list[str]) -> Path:
    """Write certificates, where there are none yet, and the broker's configuration; the path of the latter."""
    users = [CONTROL_ROOM, *vehicles, *map(driver_of, vehicles)]
    certificates = directory / "certificates"
    missing = [name for user in users if not (certificates / f"{user}.pem").exists() for name in ("--client", user)]
    if missing:
        making = await asyncio.create_subprocess_exec(
            *_TIDEWIRE, "certs", "make", str(certificates), *missing, stdout=PIPE, stderr=STDOUT
        )
        said, _ = await making.communicate()
        if making.returncode:
            raise OSError(f"tidewire certs make: {said.decode(errors='replace').strip()}")
    file = directory / "broker.toml"
    file.write_text(configuration(directory, port, vehicles), encoding="utf-8")
    return file


def free_port(port: int = 0, option: str = "") -> int:
    """A port of this machine that nobody has: this one, or any. Raises click.ClickException that names the option for
    another one. The broker has to find it free again when it is restarted."""
    with listen(port, option) as listener:
        return int(listener.getsockname()[1])


async def run_fleet(directory: Path, port: int, page_port: int) -> NoReturn:
    """Start everything in an order that works, say where the page is, and start again what ends; until cancelled."""
    vehicles = [kind.name for kind in FLEET]
    port, page_port = free_port(port, "--port"), free_port(page_port, "--page-port")
    file = await prepare(directory.resolve(), port, vehicles)
    url = f"mqtts://127.0.0.1:{port}"
    where = ["--url", url, "--certificates", str(directory / "certificates")]
    children = [_Child("broker", [*_TIDEWIRE, "serve", "--config", str(file)], "serves MQTT on ")]
    for kind in FLEET:
        options = [f"--telemetry-rate={kind.telemetry_per_second}", f"--speed-maximum={kind.speed_maximum}"]
        options += [f"--east={kind.east}", f"--north={kind.north}", f"--answered={directory / kind.name}.answered"]
        children.append(_Child(kind.name, [*_PART, "board", kind.name, *where, *options], "is online"))
    page = _Child("page", [*_PART, "dashboard", *where, "--port", str(page_port), "--tour"], "http://")
    children.append(page)
    try:
        await children[0].start()
        async with asyncio.TaskGroup() as starting:  # boards and page wait for each other over MQTT, not here
            for child in children[1:]:
                starting.create_task(child.start())
        for child in children:
            print(f"{child.name:<14} process {child.pid}", flush=True)
        drive = [_python(), *_PART[1:], "drive", FLEET[0].name, *where, "speed", "5"]
        print(f"\nOne vehicle by hand:\n  {shlex.join(drive)}\n\n{page.said}", flush=True)
        await asyncio.gather(*(child.stay() for child in children))
        raise AssertionError("children are started again for ever")
    finally:
        for child in reversed(children):  # the broker last: boards say good-bye to it
            await child.end()


def _python() -> str:
    """The Python that runs this, as one types it: an environment need not be active, or any other Python be there."""
    path, here = Path(sys.executable), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


_TIDEWIRE: Final = [sys.executable, "-m", "tidewire"]
_PART: Final = [sys.executable, "-m", "examples.vehicle"]


class _Child:
    """One process: started until it says that it is ready, read, started again, ended."""

    def __init__(self, name: str, command: list[str], ready: str) -> None:
        self.name = name
        self.said = ""
        """The line that said it is ready."""
        self._command = command
        self._ready = ready
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Returns when it is ready. Raises OSError with what it said if it ends instead."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdout=PIPE,
            stderr=STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # Ctrl-C is for us, who end the others in their order
        )
        said = []
        with suppress(TimeoutError):
            async with asyncio.timeout(READY_S):
                while line := await self._read():
                    said.append(line)
                    if self._ready in line:
                        self.said = line.strip()
                        return
        raise OSError(f"{self.name} does not start: {''.join(said).strip() or f'silent for {READY_S:g} s'}")

    async def stay(self) -> NoReturn:
        """Read what it says, so that it is not held up, and start it again when it ends."""
        while True:
            while await self._read():
                pass
            print(f"{self.name} has ended; it is started again", flush=True)
            await asyncio.sleep(AGAIN_S)
            try:
                await self.start()
            except OSError as error:
                print(error, flush=True)

    async def end(self) -> None:
        """Ask it to end, by its process number, and wait."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.communicate(), ENDING_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _read(self) -> str:
        assert self._process is not None and self._process.stdout is not None
        return (await self._process.stdout.readline()).decode(errors="replace")
