"""Do connections come in by every family, at a bounded rate and number, and do they leave nothing behind?"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.process import BrokerProcess
from tidewire.server import listener
from tidewire.server.listener import Gate, host_of, tcp_socket, written
from tidewire.wire.packets import Connack, Connect, Pingreq, Pingresp

try:
    tcp_socket("::1", 0).close()
    HAS_IPV6 = True
except OSError:
    HAS_IPV6 = False

needs_ipv6 = pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6 loopback")


def config(directory: Path, text: str) -> Path:
    file = directory / "broker.toml"
    file.write_text("port = 0\n" + text)
    return file


class FakeTransport:
    """An asyncio transport as uvloop's is: it reads from the start, whatever `connection_made` said."""

    def __init__(self) -> None:
        self.reading = True
        self.aborted = False
        self.protocol: Any = None

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1)


class FakeProtocol:
    """What the gate needs of a `ClientProtocol`."""

    def __init__(self) -> None:
        self.received = b""
        self.lost = False
        self.closed = False
        self.refused = ""
        self.endpoint = None
        self.connection = self
        self.server = self

    def clock(self) -> float:
        return 0.0

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True

    def close(self, reason_code: int, detail: str, now: float) -> None:
        self.refused = detail


class Clock:
    """Time for a gate: `monotonic`, and the loop's `call_later`."""

    def __init__(self) -> None:
        self.now = 100.0
        self.planned: list[tuple[float, Callable[[], None]]] = []

    def monotonic(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        self.planned.append((self.now + delay, callback))

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [entry for entry in self.planned if entry[0] <= end]:
            entry = min(due, key=lambda entry: entry[0])
            self.planned.remove(entry)
            self.now = max(self.now, entry[0])
            entry[1]()
        self.now = end


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(listener, "monotonic", fake.monotonic)
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: fake)
    return fake


def arrive(gate: Gate) -> tuple[Any, Any]:
    """A new connection at the gate, that sends at once."""
    protocol, transport = FakeProtocol(), FakeTransport()
    transport.protocol = protocol
    gate.admit(protocol, transport)  # type: ignore[arg-type]
    transport.reading = True
    transport.protocol.data_received(b"CONNECT")
    return protocol, transport


def test_the_gate_lets_a_second_full_in_and_then_so_many_a_second(clock: Clock) -> None:
    gate = Gate(accept_rate=8, connections=100)
    arrived = [arrive(gate) for _ in range(20)]

    def let_in() -> int:
        return sum(protocol.received == b"CONNECT" for protocol, _ in arrived)

    assert let_in() == 8
    clock.advance(0.5)
    assert let_in() == 12
    clock.advance(1.0)
    assert let_in() == 20
    assert not clock.planned


def test_those_who_wait_are_not_read_from_and_come_in_by_their_order(clock: Clock) -> None:
    gate = Gate(accept_rate=1, connections=100)
    arrive(gate)
    (first, first_transport), (second, second_transport) = arrive(gate), arrive(gate)
    assert not first_transport.reading
    clock.advance(1.0)
    assert (first.received, second.received) == (b"CONNECT", b"")
    assert first_transport.reading
    assert not second_transport.reading
    assert first_transport.protocol is first


def test_one_who_leaves_while_waiting_takes_nobodys_place_for_long(clock: Clock) -> None:
    gate = Gate(accept_rate=1, connections=100)
    arrive(gate)
    (leaving, transport), (staying, _) = arrive(gate), arrive(gate)
    transport.abort()
    transport.protocol.connection_lost(None)
    assert leaving.lost
    clock.advance(2.0)
    assert (leaving.received, staying.received) == (b"", b"CONNECT")


def test_past_the_limit_connections_are_refused_until_one_leaves(clock: Clock) -> None:
    gate = Gate(accept_rate=100, connections=2)
    (first, _), _second = arrive(gate), arrive(gate)
    third, transport = arrive(gate)
    assert transport.aborted
    assert third.refused == "2 connections are open"
    gate.leave(first)
    _, transport = arrive(gate)
    assert not transport.aborted


def test_a_storm_of_connections_comes_in_at_the_accept_rate(tmp_path: Path) -> None:
    with BrokerProcess("--config", config(tmp_path, "accept_rate = 20\n")) as broker:
        began = monotonic()
        storm = [broker.open() for _ in range(30)]
        for number, client in enumerate(storm):
            client.send(Connect(f"client-{number}"), Pingreq())
        for client in storm:
            assert client.receive() == Connack()
            assert client.receive() == Pingresp()
        assert (
            monotonic() - began >= 9 / 20
        )  # ten more than one second's share; never sooner, whatever the machine does
        broker.connect("after the storm")


def test_the_limit_of_connections_is_told_in_one_line_and_over_when_one_leaves(tmp_path: Path) -> None:
    with BrokerProcess("--config", config(tmp_path, "connections = 2\n")) as broker:
        first, second = broker.connect("first"), broker.connect("second")
        with broker.open() as third:
            assert third.receive() is None
        refusal = broker.wait_for("refused")
        assert refusal.string.endswith(' reason=server_busy detail="2 connections are open"\n')
        first.close()
        broker.wait_for("disconnected client=first")
        broker.connect("fourth")
        second.send(Pingreq())
        assert second.receive() == Pingresp()
        broker.wait_for("connected client=fourth")
        assert len(broker.lines_with("refused")) == 1


@needs_ipv6
def test_ipv6_is_served_and_its_peers_are_written_with_brackets() -> None:
    with BrokerProcess("--bind", "::1") as broker:
        assert broker.addresses == [f"[::1]:{broker.port}"]
        with broker.connect("six", address=("::1", broker.port)) as client:
            port = client.socket.getsockname()[1]
            assert f" peer=[::1]:{port} " in broker.wait_for("connected client=six").string
        with pytest.raises(ConnectionRefusedError):
            broker.connect("four", address=("127.0.0.1", broker.port))


@needs_ipv6
def test_both_families_can_be_named_on_one_port() -> None:
    with tcp_socket("127.0.0.1", 0) as four, tcp_socket("::1", four.getsockname()[1]) as six:
        assert six.getsockname()[1] == four.getsockname()[1]
        assert six.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


@pytest.mark.parametrize(
    ("peer", "name", "host"),
    [
        (("127.0.0.1", 5), "127.0.0.1:5", "127.0.0.1"),
        (("::1", 5, 0, 0), "[::1]:5", "::1"),
        ("", "unix", ""),
        (None, "unix", ""),
    ],
)
def test_a_peer_has_one_name_of_its_family(peer: object, name: str, host: str) -> None:
    assert (written(peer), host_of(peer)) == (name, host)
