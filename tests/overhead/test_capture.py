"""Do the totals agree with what a packet capture sees? To within 2 %, where tshark may capture."""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import Final, Literal

import pytest

from tidewire.overhead.broker import TRANSPORTS, MeasuredBroker
from tidewire.overhead.costs import Form, Traffic
from tidewire.overhead.mqtt import Message, measure

PATIENCE_S: Final = 20.0
ALLOWED: Final = 0.02

Recorded = Callable[[str, object], None]


class Capture:
    """tshark on loopback, for some TCP ports. Datagrams of ours show that it looks, and that it has seen all."""

    def __init__(self, ports: Sequence[int]) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            self._mark = free.getsockname()[1]
        wanted = " or ".join(f"tcp port {port}" for port in ports)
        fields = ["ip.len", "tcp.srcport", "tcp.dstport", "udp.length"]
        self._process = subprocess.Popen(
            [
                *("tshark", "-i", "lo", "-n", "-l", "-Q", "-f", f"{wanted} or udp port {self._mark}"),
                *("-T", "fields", "-E", "separator=,", *(word for field in fields for word in ("-e", field))),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._kept = b""
        self._marks = 0
        self._ip_bytes: Counter[int] = Counter()
        self._ports = frozenset(ports)
        self._read_up_to_a_mark(repeat=True)

    def since_last_asked(self) -> Counter[int]:
        """By port of the broker: bytes of IP header and all above it."""
        self._read_up_to_a_mark()
        seen, self._ip_bytes = self._ip_bytes, Counter()
        return seen

    def end(self) -> str:
        """What it said."""
        self._process.terminate()
        _, said = self._process.communicate(timeout=PATIENCE_S)
        return " ".join(said.decode(errors="replace").split())

    def _read_up_to_a_mark(self, repeat: bool = False) -> None:
        """Send a datagram of a size that is new, and read until it was seen. Skips the test where that cannot be."""
        self._marks += 1
        assert self._process.stdout is not None
        deadline = monotonic() + PATIENCE_S
        self._send_mark()
        while not self._lines_hold_the_mark():
            ready, _, _ = select.select([self._process.stdout], [], [], 0.1)
            data = os.read(self._process.stdout.fileno(), 1 << 16) if ready else None
            if data == b"" or monotonic() > deadline:
                pytest.skip(f"tshark may not capture here: {self.end()}")
            self._kept += data or b""
            if repeat and not ready:  # it was not looking yet
                self._send_mark()

    def _send_mark(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(bytes(self._marks), ("127.0.0.1", self._mark))

    def _lines_hold_the_mark(self) -> bool:
        seen = False
        *lines, self._kept = self._kept.split(b"\n")
        for line in lines:
            # The answer "port unreachable" has the datagram inside it, and its fields twice.
            length, source, destination, datagram = (field.split(b" ")[0] for field in line.split(b","[:1])[:4])
            if datagram:
                seen = seen or int(datagram) == 8 + self._marks
                continue
            [port] = {int(source), int(destination)} & self._ports
            self._ip_bytes[port] += int(length)
        return seen


@pytest.fixture(scope="module")
def capture(broker: MeasuredBroker) -> Iterator[Capture]:
    """One for all: to begin takes it as long as a test."""
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed: apt-get install tshark")
    capturing = Capture(list(broker.ports.values()))
    yield capturing
    capturing.end()


@pytest.mark.parametrize("version", ["3.1.1", "5.0"])
def test_the_totals_agree_with_a_packet_capture(
    broker: MeasuredBroker, capture: Capture, version: Literal["3.1.1", "5.0"], record_property: Recorded
) -> None:
    counted: dict[str, int] = {}
    for transport in TRANSPORTS:
        performed = measure(broker, Form(transport, version), Message())
        counted[transport] = sum(performed.connections.values(), Traffic()).total
    captured = capture.since_last_asked()
    for transport in TRANSPORTS:
        seen = captured[broker.ports[transport]]
        record_property(transport, f"counted {counted[transport]} B, captured {seen} B")
        assert counted[transport] == pytest.approx(seen, rel=ALLOWED), transport
