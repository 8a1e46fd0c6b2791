"""How one run of one client program is made: the broker's side of it, and what is found.

The client has the core of the load generator. This process has the broker's, where it counts what arrives at a
subscriber, byte by byte, or floods the broker for the client to receive.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from time import monotonic, monotonic_ns, process_time
from typing import IO, Final

from benchmarks.brokers import Running, machine_cpu_s
from benchmarks.clients.work import HOST, READY, TOPIC, Unsupported, make_tape
from benchmarks.load.clients import close_clients, expect_silence, open_clients, subscribe
from benchmarks.load.subscribers import Tally, make_sink
from tidewire.wire.codes import V5
from tidewire.wire.packets import Connack
from tidewire.wire.properties import ASSIGNED_CLIENT_IDENTIFIER, Properties

RUN_TIMEOUT_S: Final = 30.0  # most take a second
STALL_S: Final = 2.0  # after the end of the client nothing arrived for so long: the rest is lost
FLOOD_BYTES: Final = 1 << 16  # written at once
QUEUED: Final = 100_000  # publishes that a client is asked to queue
PUBLISHES: Final = ("publish_qos0", "publish_qos1")


class ClientFailed(Exception):
    """The client lost messages, died or did not end; the text says which."""


@dataclass(frozen=True)
class Variant:
    """A client program and what it runs on."""

    name: str
    loop: str  # "asyncio", "uvloop", or "threads" where it has its own


def run(variant: Variant, kind: str, broker: Running, messages: int) -> dict[str, float]:
    """One run of `messages`, and a tenth of them to warm up. Raises ClientFailed, Unsupported, BrokerFailed."""
    warm_up = max(messages // 10, 100)
    ours, theirs = os.sched_getaffinity(0), os.sched_getaffinity(broker.process_id)
    before = monotonic(), machine_cpu_s() - broker.cpu_s() - process_time()
    with peer_of(kind, broker.port) as peer, started(variant, kind, broker.port, warm_up, messages) as client:
        os.sched_setaffinity(0, theirs)
        try:
            figures = (count_arrivals if kind in PUBLISHES else flood)(client, peer, warm_up + messages)
        finally:
            os.sched_setaffinity(0, ours)
    seconds = (figures["stopped_ns"] - figures["started_ns"]) / 1e9
    after = monotonic(), machine_cpu_s() - broker.cpu_s() - process_time()
    others_s = after[1] - before[1] - client.cpu_s
    return {
        "messages_per_s": messages / seconds,
        "client_cpu_us_per_message": figures["cpu_s"] / messages * 1e6,
        "client_cpu_share": figures["cpu_s"] / seconds,
        "others_cpu_share": max(0.0, others_s / (after[0] - before[0])),
    }


def run_queue(variant: Variant) -> dict[str, float]:
    """What a queued publish at QoS 1 takes while the broker, which is no broker, reads and acknowledges nothing."""
    with socket.create_server((HOST, 0)) as server, ExitStack() as stack:
        client = stack.enter_context(started(variant, "queue", server.getsockname()[1], 0, QUEUED))
        readable, _, _ = select.select([server.fileno(), client.output.fileno()], [], [], RUN_TIMEOUT_S)
        if server.fileno() in readable:
            stack.enter_context(welcome(server))
        figures = client.result()
    if not figures["queued"]:
        raise ClientFailed("queued nothing")
    return {
        "asked": QUEUED,
        "queued": figures["queued"],
        "resident_bytes": figures["resident_bytes"] / figures["queued"],
    }


def welcome(server: socket.socket) -> socket.socket:
    """Accept a connection and its CONNECT; nobody reads what comes after."""
    client, _ = server.accept()
    client.recv(4096)
    properties = Properties()
    properties.texts[ASSIGNED_CLIENT_IDENTIFIER] = "queueing"
    client.sendall(Connack(properties=properties).encode(V5))
    return client


class Child:
    """A client program while it runs."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        assert process.stdout is not None
        self.process = process
        self.output: IO[bytes] = process.stdout
        self.errors = errors
        self.said = b""
        self.ended = False
        self.cpu_s = 0.0
        self.deadline = monotonic() + RUN_TIMEOUT_S

    def read(self) -> None:
        data = os.read(self.output.fileno(), 65536)
        self.said += data
        self.ended = not data

    def wait_for_line(self) -> str:
        """The next line. Raises ClientFailed when it ends or the time is up without one."""
        while b"\n" not in self.said and not self.ended:
            self.wait_readable()
            self.read()
        line, _, self.said = self.said.partition(b"\n")
        return line.decode()

    def wait_readable(self) -> None:
        if not select.select([self.output], [], [], max(0.0, self.deadline - monotonic()))[0]:
            raise ClientFailed(f"did not end within {RUN_TIMEOUT_S:.0f} s")

    def result(self) -> dict[str, float]:
        """The figures that it printed. Raises ClientFailed or Unsupported."""
        while not self.ended:
            self.wait_readable()
            self.read()
        lines = self.said.decode().splitlines()
        if not lines or not lines[-1].startswith("{"):
            self.errors.seek(0)
            raise ClientFailed(f"died: {self.errors.read().decode().strip().rpartition(chr(10))[2]}")
        figures: dict[str, float] = json.loads(lines[-1])
        if "unsupported" in figures:
            raise Unsupported(figures["unsupported"])
        return figures


@contextmanager
def started(variant: Variant, kind: str, port: int, warm_up: int, messages: int) -> Iterator[Child]:
    """The client program, in a process of its own on the cores of this one; ended with the context."""
    command = [sys.executable, "-P", "-m", "benchmarks.clients.program", variant.name, kind]
    arguments = [str(port), str(warm_up), str(messages), variant.loop]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [*command, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        )
        child = Child(process, errors)
        try:
            yield child
        finally:
            if not child.ended:
                process.kill()
            _, _, usage = os.wait4(process.pid, 0)
            process.returncode = 0  # it is gone, and Popen need not look for it
            child.cpu_s = usage.ru_utime + usage.ru_stime
            child.output.close()


@contextmanager
def peer_of(kind: str, port: int) -> Iterator[socket.socket]:
    """The other end of the work: a subscriber to what the client publishes, or the publisher of what it receives."""
    (peer,) = open_clients(port, 1, "peer")
    try:
        if kind in PUBLISHES:
            subscribe([peer], [[TOPIC.encode()]], 0)
        yield peer
    finally:
        close_clients([peer])


def count_arrivals(client: Child, peer: socket.socket, due: int) -> dict[str, float]:
    """Count what the client publishes. Its time ends when all has arrived, and not before the client says so."""
    sink = make_sink(peer, make_tape(), Tally(), True)
    poll = select.poll()
    poll.register(peer, select.POLLIN)
    poll.register(client.output, select.POLLIN | select.POLLHUP)
    arrived_ns = 0
    while not (client.ended and arrived_ns):
        events = poll.poll(1000 * STALL_S)
        for fileno, _ in events:
            if fileno == sink.fileno:
                sink.readable()
                if sink.delivered >= due and not arrived_ns:
                    arrived_ns = monotonic_ns()
            else:
                client.read()
                if client.ended:
                    poll.unregister(client.output)
        if client.ended and not events:
            client.result()  # says so where it died
            raise ClientFailed(f"lost {due - sink.delivered} of {due} messages")
        if monotonic() > client.deadline:
            raise ClientFailed(f"did not end within {RUN_TIMEOUT_S:.0f} s")
    figures = client.result()
    expect_silence([peer])  # what came twice would come before the answer to a ping
    figures["stopped_ns"] = max(figures["stopped_ns"], arrived_ns)
    return figures


def flood(client: Child, peer: socket.socket, due: int) -> dict[str, float]:
    """Publish `due` messages while the client, which is subscribed, is held; then let it receive as fast as it can.

    The broker has taken them all by then, and has nothing to do but to send.
    """
    if client.wait_for_line() != READY:
        client.result()  # says why
        raise ClientFailed("did not subscribe")
    client.process.send_signal(signal.SIGSTOP)
    tape = make_tape()
    position, end = 0, tape.bytes_before(due)
    while position < end:
        start = position % len(tape.view)
        piece = tape.view[start : min(start + FLOOD_BYTES, start + end - position)]
        peer.sendall(piece)
        position += len(piece)
    expect_silence([peer])  # the answer to a ping comes after all that was sent before it
    client.process.send_signal(signal.SIGCONT)
    return client.result()
