"""A broker in a process of its own, and a bare client to hold against it: for what only a process shows.

    with BrokerProcess("--port", "0") as broker:
        alice = broker.connect("alice", version=5)
        broker.stop()
        assert alice.receive() == Disconnect(0x8B)

Nothing here sleeps: a test waits for a line of the log, for a packet or for the end of a process. `PATIENCE_S` only
bounds how long a test that fails takes to say so.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

from tidewire.wire.framing import Decoder
from tidewire.wire.packets import Connack, Connect, Packet, Publish, Suback, Subscribe, SubscriptionRequest

PATIENCE_S: Final = 60.0
NO_LIMIT: Final = 268_435_460

Address = tuple[str, int] | str
"""(host, port), or the path of a Unix socket."""


def tidewire(*arguments: str | Path, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "tidewire", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=os.environ | environment,
        check=False,
    )


class BrokerProcess:
    """`tidewire serve`, from its readiness to its end. Port 0 unless the arguments say else."""

    def __init__(self, *arguments: str | Path) -> None:
        if not {"--port", "-p", "--config", "-c"} & set(arguments):
            arguments = ("--port", "0", *arguments)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tidewire", "serve", *map(str, arguments)],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            errors="backslashreplace",
        )
        self.clients: list[BareClient] = []
        self.lines: list[str] = []
        """The log so far."""
        self._ended = False
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self.addresses = self.wait_for("serves MQTT on (.*)").group(1).split(", ")
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def port(self) -> int:
        """The TCP port, the same for all addresses."""
        return int(self.addresses[0].rpartition(":")[2])

    @property
    def log(self) -> str:
        return "".join(self.lines)

    def wait_for(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait until so many lines of the log match; the last of them."""

        def found() -> list[re.Match[str]]:
            return [match for line in self.lines if (match := re.search(pattern, line))]

        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(found()) >= times, PATIENCE_S)
            matches = found()
        assert len(matches) >= times, f"{len(matches)} lines of {times} match {pattern!r} in the log:\n{self.log}"
        return matches[times - 1]

    def lines_with(self, event: str) -> list[str]:
        """The lines of one kind of event, without time and level."""
        said = [line.split(None, 3)[3].rstrip("\n") for line in self.lines if line.count(" ") > 3]
        return [line for line in said if line.startswith(event)]

    def open(self, version: int = 4, address: Address | None = None, receive_buffer_bytes: int = 0) -> BareClient:
        """A network connection without CONNECT."""
        client = BareClient(address or ("127.0.0.1", self.port), version, receive_buffer_bytes)
        self.clients.append(client)
        return client

    def connect(
        self, client_identifier: str = "", version: int = 4, address: Address | None = None, **fields: Any
    ) -> BareClient:
        """A connected client; `fields` are those of `wire.packets.Connect`."""
        return self.open(version, address).connect(client_identifier, **fields)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """The exit status, once the process has ended and all of its log was read."""
        status = self.process.wait(PATIENCE_S)
        with self._changed:
            assert self._changed.wait_for(lambda: self._ended, PATIENCE_S)
        return status

    def stop(self) -> int:
        """Ask it to stop, and wait until it has."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End it, however it is, and the connections to it."""
        for client in self.clients:
            client.close()
        self.process.kill()
        self.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def resident_bytes(self, peak: bool = False) -> int:
        """Memory of the process (Linux)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        match = re.search(rf"Vm{'HWM' if peak else 'RSS'}:\s+(\d+) kB", status)
        assert match
        return int(match.group(1)) * 1024

    def _read(self) -> None:
        assert self.process.stderr is not None
        with contextlib.suppress(ValueError):  # closed under way
            for line in self.process.stderr:
                with self._changed:
                    self.lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class BareClient:
    """One connection, packet by packet."""

    def __init__(self, address: Address, version: int, receive_buffer_bytes: int = 0) -> None:
        self.version = version
        self.connack = Connack()
        self._decoder = Decoder(version, NO_LIMIT)
        self._inbox: list[Packet] = []
        family = (
            socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        )
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE_S)
        if receive_buffer_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.connect(address)
        if family != socket.AF_UNIX:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def connect(self, client_identifier: str = "", **fields: Any) -> Self:
        """CONNECT and its answer, which is kept in `connack`; `fields` are those of `wire.packets.Connect`."""
        self.send(Connect(client_identifier, self.version, **fields))
        connack = self.receive()
        assert isinstance(connack, Connack), connack
        self.connack = connack
        return self

    def send(self, *packets: Packet) -> None:
        self.send_bytes(b"".join(packet.encode(self.version) for packet in packets))

    def send_bytes(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> Packet | None:
        """The next packet; None when the broker has ended the connection."""
        while not self._inbox:
            try:
                data = self.socket.recv(65_536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._inbox += self._decoder.feed(data)
        return self._inbox.pop(0)

    def packets(self) -> Iterator[Packet]:
        """Every packet until the broker ends the connection."""
        while (packet := self.receive()) is not None:
            yield packet

    def subscribe(self, topic_filter: str, qos: int = 0) -> None:
        self.send(Subscribe(1, [SubscriptionRequest(topic_filter.encode(), qos)]))
        assert isinstance(self.receive(), Suback)

    def publish(self, topic: str, payload: bytes = b"x") -> None:
        """At QoS 0."""
        self.send(Publish(topic.encode(), payload))

    def close(self) -> None:
        self.socket.close()
