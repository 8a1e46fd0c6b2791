"""Faults on demand: packets that get lost, late or doubled, and connections that break."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from tidewire.server.listener import ClientProtocol
from tidewire.wire.codes import ALLOWED_REASON_CODES, CONNACK, CONNECT, PACKET_NAMES, V311, ReasonCode
from tidewire.wire.errors import ProtocolViolation
from tidewire.wire.fields import MAXIMUM_VARIABLE_BYTE_INTEGER
from tidewire.wire.framing import find_packet
from tidewire.wire.packets import Connect, decode

if TYPE_CHECKING:
    from tidewire.server.server import Server
    from tidewire.testing.clock import Clock

__tracebackhide__ = True  # pytest shows the line of the test instead of lines from here

Sender = Literal["client", "broker"]
Effect = Literal["drop", "duplicate", "delay", "cut"]

PACKET_KINDS: Final = PACKET_NAMES[1:]
"""How packets are called here: as in the specification."""

LARGEST_PACKET_BYTES: Final = MAXIMUM_VARIABLE_BYTE_INTEGER + 5


class Fault:
    """One fault that waits for its packet."""

    def __init__(
        self, effect: Effect, kind: str, nth: int, times: int, client: str | None, sender: Sender | None, delay_s: float
    ) -> None:
        """Raises ValueError for what can never happen."""
        self.effect = effect
        self.delay_s = delay_s
        self.happened = 0
        """How many packets it has met so far."""
        self._kind = kind
        self._nth = nth
        self._times = times
        self._client = client
        self._sender = sender
        self._seen = 0
        if kind not in PACKET_KINDS:
            raise ValueError(f"{kind!r} is no kind of packet; there are {', '.join(PACKET_KINDS)}")
        if sender not in (None, "client", "broker"):
            raise ValueError(f"sender must be 'client' or 'broker', not {sender!r}")
        if nth < 1 or times < 1:
            raise ValueError("the next packet is nth=1, and a fault happens at least once: times=1")
        if delay_s < 0:
            raise ValueError(f"a packet cannot arrive {-delay_s} s before it was sent")

    def __repr__(self) -> str:
        return f"<{self.effect} {self._kind}, nth={self._nth}, happened {self.happened} of {self._times} times>"

    @property
    def done(self) -> bool:
        """Whether it has happened as often as it was asked for."""
        return self.happened >= self._times

    def is_due(self, kind: str, client: str, sender: Sender) -> bool:
        """Count a packet; True when this fault may happen to it."""
        if kind != self._kind or self._client not in (None, client) or self._sender not in (None, sender):
            return False
        self._seen += 1
        return self._seen >= self._nth


class Faults:
    """What goes wrong between the clients and the broker of a test.

    A packet is named by its kind ("PUBACK"), by how many of them come before it (`nth=1` is the next one), and if need
    be by the client and by who sends it. Each method may be called at any time and from any thread.
    """

    def __init__(self, run: Callable[[Callable[[], Any]], Any], clock: Clock, changed: Callable[[], None]) -> None:
        """`run` calls something on the broker's loop and returns what it returned; `changed` is told of each fault."""
        self.clock = clock
        self.server: Server | None = None
        self.refusals: list[int] = []
        """Reason codes for the next clients that connect."""
        self._run = run
        self._changed = changed
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def drop(
        self, kind: str, nth: int = 1, *, times: int = 1, client: str | None = None, sender: Sender | None = None
    ) -> Fault:
        """The nth packet of that kind, and `times` - 1 after it, gets lost."""
        return self._add(Fault("drop", kind, nth, times, client, sender, 0.0))

    def duplicate(
        self, kind: str, nth: int = 1, *, times: int = 1, client: str | None = None, sender: Sender | None = None
    ) -> Fault:
        """It arrives twice."""
        return self._add(Fault("duplicate", kind, nth, times, client, sender, 0.0))

    def delay(
        self,
        kind: str,
        seconds: float,
        nth: int = 1,
        *,
        times: int = 1,
        client: str | None = None,
        sender: Sender | None = None,
    ) -> Fault:
        """It arrives when the test's clock has moved on so far; what was sent after it is not held up."""
        return self._add(Fault("delay", kind, nth, times, client, sender, seconds))

    def cut_at(
        self, kind: str, nth: int = 1, *, times: int = 1, client: str | None = None, sender: Sender | None = None
    ) -> Fault:
        """The connection breaks just before that packet arrives."""
        return self._add(Fault("cut", kind, nth, times, client, sender, 0.0))

    def cut(self, client: str | None = None) -> None:
        """Break the connection of a client, or of all, at once. Raises LookupError when it is not connected."""

        def break_it() -> None:
            for line in self._lines(client):
                line.cut()

        self._run(break_it)

    def half_open(self, client: str | None = None) -> None:
        """From now on nothing gets through to or from a client, or all, and neither side is told.

        The socket stays open until the client closes it or the broker stops. Raises LookupError when the client is not
        connected.
        """

        def part() -> None:
            for line in self._lines(client):
                line.half_open = True

        self._run(part)

    def refuse_connect(self, reason_code: int = ReasonCode.SERVER_UNAVAILABLE, times: int = 1) -> None:
        """The next CONNECT is refused, unless told otherwise with "server unavailable".

        Clients before 5.0 get the return code that is nearest. Raises ValueError for what a CONNACK cannot carry.
        """
        if reason_code < 0x80 or reason_code not in ALLOWED_REASON_CODES[CONNACK]:
            raise ValueError(f"a CONNACK cannot refuse with 0x{reason_code:02x}")
        self._run(lambda: self.refusals.extend([reason_code] * times))

    def clear(self) -> None:
        """Forget what has not happened yet. Delayed packets and half-open connections stay as they are."""
        with self._lock:
            self._faults.clear()
        self._run(self.refusals.clear)

    def make_line(self, server: Server) -> Line:
        """The protocol of a new connection."""
        return Line(server, self)

    def meeting(self, kind: str, client: str, sender: Sender) -> Fault | None:
        """The fault that happens to this packet: the first one that is due. All of them count it."""
        with self._lock:
            due = [fault for fault in self._faults if fault.is_due(kind, client, sender)]
            if not due:
                return None
            due[0].happened += 1
            if due[0].done:
                self._faults.remove(due[0])
        self._changed()
        return due[0]

    def _add(self, fault: Fault) -> Fault:
        with self._lock:
            self._faults.append(fault)
        return fault

    def _lines(self, client: str | None) -> list[Line]:
        assert self.server is not None
        lines = [line for line in self.server.gate.connections if isinstance(line, Line)]
        found = [line for line in lines if client in (None, line.client_identifier)]
        if client is not None and not found:
            connected = ", ".join(sorted(line.client_identifier for line in lines)) or "nobody"
            raise LookupError(f"client {client!r} is not connected; {connected} is")
        return found


class Line(ClientProtocol):
    """A connection with a look at every packet, both ways."""

    def __init__(self, server: Server, faults: Faults) -> None:
        super().__init__(server)
        self.faults = faults
        self.half_open = False
        self._claimed = ""
        self._to_broker = _Stream(self, "client", self._arrive)
        self._to_client = _Stream(self, "broker", self._leave)

    @property
    def client_identifier(self) -> str:
        """Whose line it is; empty before its CONNECT."""
        return self.connection.client_identifier() or self._claimed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        super().connection_made(cast(asyncio.Transport, _LineTransport(self._transport, self)))

    def data_received(self, data: bytes) -> None:
        if not self.half_open:
            self._to_broker.feed(data)

    def eof_received(self) -> bool:
        """True keeps the socket open."""
        return self.half_open

    def connection_lost(self, error: Exception | None) -> None:
        if self.half_open:
            self.server.gate.leave(self)  # but the engine is not told
        else:
            super().connection_lost(error)

    def send(self, data: bytes) -> None:
        """The broker writes to the client."""
        if not self.half_open and not self._transport.is_closing():
            self._to_client.feed(data)

    def cut(self) -> None:
        """Break it, for both sides."""
        self._transport.abort()

    def treat(self, packet: bytes, sender: Sender, deliver: Callable[[bytes], None]) -> bytes | None:
        """What of a packet goes on now; None when the connection breaks before it."""
        kind = PACKET_NAMES[packet[0] >> 4]
        if packet[0] >> 4 == CONNECT:
            self._claimed = _claimed_identifier(packet)
        fault = self.faults.meeting(kind, self.client_identifier, sender)
        if fault is None:
            return packet
        if fault.effect == "cut":
            return None
        if fault.effect == "duplicate":
            return packet + packet
        if fault.effect == "delay":
            self.faults.clock.call_later(fault.delay_s, lambda: deliver(packet))
        return b""

    def _arrive(self, data: bytes) -> None:
        if not self.half_open:
            super().data_received(data)

    def _leave(self, data: bytes) -> None:
        if not self.half_open and not self._transport.is_closing():
            self._transport.write(data)


class _Stream:
    """One direction of a line, packet by packet."""

    def __init__(self, line: Line, sender: Sender, deliver: Callable[[bytes], None]) -> None:
        self._line = line
        self._sender = sender
        self._deliver = deliver
        self._kept = b""

    def feed(self, data: bytes) -> None:
        """Bytes came; deliver what the faults leave of the packets that are whole."""
        data = self._kept + data
        self._kept = b""
        position = 0
        passed: list[bytes] = []
        while position < len(data):
            try:
                _, end = find_packet(data, position, LARGEST_PACKET_BYTES)
            except ProtocolViolation:  # for the broker to judge
                passed.append(data[position:])
                break
            if end < 0 or end > len(data):
                self._kept = data[position:]
                break
            left = self._line.treat(data[position:end], self._sender, self._deliver)
            if left is None:
                self._pass_on(passed)
                self._line.cut()
                return
            passed.append(left)
            position = end
        self._pass_on(passed)

    def _pass_on(self, passed: list[bytes]) -> None:
        if data := b"".join(passed):
            self._deliver(data)


class _LineTransport:
    """The transport that the engine writes to."""

    def __init__(self, transport: asyncio.Transport, line: Line) -> None:
        self._transport = transport
        self._line = line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self._line.send(data)

    def write_eof(self) -> None:
        if not self._line.half_open:
            self._transport.write_eof()

    def close(self) -> None:
        if not self._line.half_open:
            self._transport.close()

    def abort(self) -> None:
        """The last word, also where the line is half open and the broker stops."""
        if not self._line.half_open or self._line.connection.broker.closing:
            self._transport.abort()


def _claimed_identifier(packet: bytes) -> str:
    """The client identifier in a CONNECT, empty where it cannot be read."""
    try:
        body, end = find_packet(packet, 0, LARGEST_PACKET_BYTES)
        connect = decode(packet[0], packet, body, end, V311)
    except ProtocolViolation:
        return ""
    return connect.client_identifier if isinstance(connect, Connect) else ""
