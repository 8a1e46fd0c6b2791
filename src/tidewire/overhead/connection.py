"""How are all bytes of one client counted? A small MQTT client over a socket that it holds itself, layer by layer."""

from __future__ import annotations

import itertools
import select
import socket
from collections import Counter
from typing import Final, Literal

from tidewire.overhead.broker import MeasuredBroker
from tidewire.overhead.costs import Direction, Form, SeenPacket, Traffic
from tidewire.overhead.description import describe
from tidewire.overhead.errors import MeasurementError
from tidewire.overhead.kernel import PATIENCE_S, TcpInfo, prepare, wait_until_quiet
from tidewire.overhead.layers import Layer, TlsLayer, WebSocketLayer
from tidewire.wire.codes import V5, V311
from tidewire.wire.framing import find_packet
from tidewire.wire.packets import Packet, Publish, decode

LARGEST_PACKET_BYTES: Final = 268_435_460
READ_BYTES: Final = 1 << 18


class Connection:
    """One client's connection. Nothing happens by itself: who holds it sends, receives and closes."""

    def __init__(
        self, client: Literal["publisher", "subscriber"], broker: MeasuredBroker, form: Form, log: list[SeenPacket]
    ) -> None:
        """Connects, up to where CONNECT may be sent. `log` gets every packet, whoever else writes into it."""
        self._client = client
        self._version = V5 if form.version == "5.0" else V311
        self._log = log
        self._counts: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
        self._turns: list[bool] = []
        """Which way bytes went through the socket; True is to the broker."""
        self._kept = b""
        self._received: list[Packet] = []
        self._ended = False
        self._fins = 0
        """Seen from the broker: the kernel counts one as a byte."""
        self._layers = _layers(form, broker)  # the topmost first
        self._socket = socket.socket()
        try:
            self._open(broker.ports[form.transport])
        except BaseException:
            self._socket.close()
            raise

    @property
    def tls(self) -> str:
        """Version and cipher suite; empty without TLS."""
        return next((str(layer) for layer in self._layers if isinstance(layer, TlsLayer)), "")

    def send(self, packet: Packet) -> None:
        data = packet.encode(self._version)
        self._note(True, packet, len(data), self._write(data))

    def expect(self, kind: type[Packet]) -> Packet:
        """Wait for the next packet, which is to be of this kind. Raises MeasurementError."""
        packets: list[Packet] = []
        while not packets:
            packets = self.read()
        packet = packets[0]
        if not isinstance(packet, kind):
            raise MeasurementError(f"{kind.__name__} was expected, and {packet} came")
        return packet

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> list[Packet]:
        """Wait for what comes, and return the packets that are whole now. Raises MeasurementError."""
        self._read()
        received, self._received = self._received, []
        return received

    def traffic(self) -> Traffic:
        """All so far, once nothing is under way any more."""
        return self._traffic(wait_until_quiet(self._socket))

    def round_trips(self) -> int:
        """How often bytes have come back since this was asked last."""
        turns, self._turns = self._turns, []
        return sum(1 for before, after in itertools.pairwise(turns) if before == turns[0] != after)

    def disconnect(self, last: Packet) -> None:
        """Send the last packet and close every layer, in one write; then wait until the broker has closed too."""
        data = last.encode(self._version)
        self._write(data, close=True)
        self._note(True, last, len(data), 0)
        self._socket.shutdown(socket.SHUT_WR)
        while not self._ended:
            self._read()
        self._turns.clear()  # for what came now a client does not have to wait
        wait_until_quiet(self._socket, closed=True)

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    # -- through the layers

    def _open(self, port: int) -> None:
        """The handshakes, from the lowest to the topmost."""
        prepare(self._socket)
        self._socket.connect(("127.0.0.1", port))
        for layer in reversed(self._layers):
            layer.start()
            while not layer.ready:
                self._write()
                self._read()
        self._write()

    def _write(self, data: bytes = b"", close: bool = False) -> int:
        """Bytes that were written to the socket."""
        for layer in self._layers:
            if data:
                layer.send(data)
            if close:
                layer.close()
            wrapped = layer.outgoing()
            self._counts[True][layer.name] += len(wrapped) - len(data)
            data = wrapped
        if data:
            self._socket.sendall(data)
            self._turns.append(True)
        return len(data)

    def _read(self) -> None:
        """Wait for what comes, and take it up through the layers. Raises MeasurementError."""
        if self._ended:
            raise MeasurementError("the broker closed the connection")
        ready, _, _ = select.select([self._socket], [], [], PATIENCE_S)
        if not ready:
            raise MeasurementError(f"the broker did not answer in {PATIENCE_S:g} s")
        try:
            data = self._socket.recv(READ_BYTES)
            self._fins = 0 if data else 1
        except ConnectionResetError:  # it closed before it had read all, which ends a connection too
            data = b""
        if not data:
            self._ended = True
            return
        self._turns.append(False)
        size = len(data)
        for layer in reversed(self._layers):
            inside = layer.receive(data)
            self._counts[False][layer.name] += len(data) - len(inside)
            data = inside
        self._split(data, size)

    def _split(self, data: bytes, stream_bytes: int) -> None:
        data = self._kept + data
        found: list[tuple[Packet, int]] = []
        position = 0
        while True:
            body, end = find_packet(data, position, LARGEST_PACKET_BYTES)
            if end < 0 or end > len(data):
                break
            found.append((decode(data[position], data, body, end, self._version), end - position))
            position = end
        alone = len(found) == 1 and not self._kept and position == len(data)
        self._kept = data[position:]
        for packet, size in found:
            self._note(False, packet, size, stream_bytes if alone else 0)
            self._received.append(packet)

    # -- counting

    def _note(self, to_broker: bool, packet: Packet, size: int, stream_bytes: int) -> None:
        payload = len(packet.payload) if isinstance(packet, Publish) else 0
        self._counts[to_broker].update(payload=payload, protocol=size - payload, packets=1)
        name, detail = describe(packet)
        self._log.append(SeenPacket(self._client, to_broker, name, detail, size, stream_bytes))

    def _traffic(self, info: TcpInfo) -> Traffic:
        below = info.header_total(info.segments_out) + info.repeated_bytes
        sent = Direction(**self._counts[True], tcp_ip=below, segments=info.segments_out)
        below = info.header_total(info.segments_in)
        received = Direction(**self._counts[False], tcp_ip=below, segments=info.segments_in)
        if (sent.stream, received.stream) != (info.sent_bytes, info.received_bytes - self._fins):
            raise MeasurementError(
                f"the layers hold {sent.stream} and {received.stream} bytes, "
                f"and the kernel counted {info.sent_bytes} and {info.received_bytes}"
            )
        return Traffic(sent, received)


def _layers(form: Form, broker: MeasuredBroker) -> list[Layer]:
    layers: list[Layer] = []
    if form.transport in ("ws", "wss"):
        layers.append(WebSocketLayer(f"ws://localhost:{broker.ports[form.transport]}/mqtt"))
    if form.transport in ("tls", "wss"):
        layers.append(TlsLayer(broker.tls, "localhost"))
    return layers
