"""Which brokers does the client have to be good to? Mosquitto, Tidewire and mochi-mqtt, started here on this machine.

Mochi comes from its Go module, by the `go` command, once, into build/brokers. What is not here is skipped by name.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from tests.client.certificates import Certificates
from tests.process import PATIENCE_S, BrokerProcess
from tidewire.access.passwords import set_password

MOCHI_MODULE: Final = "github.com/mochi-mqtt/server/v2/cmd@v2.7.9"
MOCHI: Final = Path(__file__).parents[2] / "build" / "brokers" / "cmd"
INSTALL_S: Final = 600.0
"""How long `go install` may take on a slow machine."""

STARTS: Final = 3
"""A port that was free a moment ago may be taken by another program: then another one is tried."""

USER_NAME: Final = "alice"
PASSWORD: Final = "correct horse"

Command = Callable[[list[int]], list[str | Path]]
"""A command's words, for a program that is to listen on these ports."""


@dataclass(frozen=True)
class RunningBroker:
    """A broker that answers."""

    name: str
    port: int
    """Of plain TCP, for everybody."""
    urls: dict[str, str] = field(default_factory=dict)
    """The same broker by other ways: "mqtts", "ws", "unix", and "closed", which wants USER_NAME and PASSWORD."""
    redelivers_in_order: bool = True
    """[MQTT-4.6.0-6]"""

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def in_order(self, redelivered: list[bytes]) -> list[bytes]:
        """What a session brought back, sorted where it is the broker that mixed it up."""
        return redelivered if self.redelivers_in_order else sorted(redelivered)


@contextlib.contextmanager
def mosquitto(directory: Path, certificates: Certificates) -> Iterator[RunningBroker]:
    """Debian's; its WebSocket listener needs a libwebsockets that opens one, so that way is tested elsewhere."""
    program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
    passwords = shutil.which("mosquitto_passwd")
    if program is None or passwords is None:
        pytest.skip("mosquitto is not installed")
    password_file = directory / "passwords"
    subprocess.run([passwords, "-b", "-c", password_file, USER_NAME, PASSWORD], check=True, timeout=PATIENCE_S)
    unix_socket = directory / "mosquitto"

    def command(ports: list[int]) -> list[str | Path]:
        configuration = directory / "mosquitto.conf"
        configuration.write_text(
            f"""
per_listener_settings true
user {getpass.getuser()}
max_queued_messages 0
set_tcp_nodelay true
listener {ports[0]} 127.0.0.1
allow_anonymous true
listener {ports[1]} 127.0.0.1
allow_anonymous true
certfile {certificates.chain}
keyfile {certificates.key}
listener {ports[2]} 127.0.0.1
allow_anonymous false
password_file {password_file}
listener 0 {unix_socket}
allow_anonymous true
""",
            encoding="utf-8",
        )
        return [program, "-c", configuration]

    with _started(command, 3, "running") as ports:
        urls = {
            "mqtts": f"mqtts://localhost:{ports[1]}",
            "closed": f"mqtt://127.0.0.1:{ports[2]}",
            "unix": f"unix://{unix_socket}",
        }
        yield RunningBroker("mosquitto", ports[0], urls)


@contextlib.contextmanager
def our_own(directory: Path) -> Iterator[RunningBroker]:
    """`tidewire serve`, once for everybody and once with passwords."""
    unix_socket = directory / "tidewire"
    password_file = directory / "passwords"
    set_password(password_file, USER_NAME, PASSWORD.encode())
    with (
        BrokerProcess("--bind", "127.0.0.1", "--port", "0", "--unix-socket", unix_socket) as process,
        BrokerProcess("--bind", "127.0.0.1", "--port", "0", "--password-file", password_file) as closed,
    ):
        urls = {"unix": f"unix://{unix_socket}", "closed": f"mqtt://127.0.0.1:{closed.port}"}
        yield RunningBroker("tidewire", process.port, urls)
        assert "internal error" not in process.log


@contextlib.contextmanager
def mochi() -> Iterator[RunningBroker]:
    """mochi-mqtt, a broker written in Go."""
    program = _installed_mochi()

    def command(ports: list[int]) -> list[str | Path]:
        addresses = [f"127.0.0.1:{port}" for port in ports]
        return [program, "-tcp", addresses[0], "-ws", addresses[1], "-info", addresses[2]]

    with _started(command, 3, "server started") as ports:
        yield RunningBroker("mochi", ports[0], {"ws": f"ws://127.0.0.1:{ports[1]}/mqtt"}, redelivers_in_order=False)


def _installed_mochi() -> Path:
    if MOCHI.exists():
        return MOCHI
    go = shutil.which("go")
    if go is None:
        pytest.skip("mochi-mqtt is not here, and there is no `go` to install it with")
    MOCHI.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"GOBIN": str(MOCHI.parent)}
    installed = subprocess.run(
        [go, "install", MOCHI_MODULE], env=environment, capture_output=True, text=True, timeout=INSTALL_S, check=False
    )
    if installed.returncode:
        pytest.skip(f"mochi-mqtt cannot be installed: {installed.stderr.strip().splitlines()[-1]}")
    return MOCHI


class _Output:
    """What a program prints, line by line, until it ends."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: list[str] = []
        self._process = process
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def has(self, words: str) -> bool:
        """Wait for a line with these words; False: the program has ended without."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or any(words in line for line in self.lines), PATIENCE_S)
            return any(words in line for line in self.lines)

    def end(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE_S)
        self._thread.join(PATIENCE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


@contextlib.contextmanager
def _started(make_command: Command, number_of_ports: int, ready: str) -> Iterator[list[int]]:
    """A program on ports that were free, once it has printed that it is ready."""
    said = ""
    for _ in range(STARTS):
        ports = _free_ports(number_of_ports)
        process = subprocess.Popen(
            make_command(ports), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="backslashreplace"
        )
        output = _Output(process)
        try:
            if output.has(ready):
                yield ports
                return
        finally:
            output.end()
        said = "".join(output.lines)
    raise AssertionError(f"the broker does not start:\n{said}")


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
