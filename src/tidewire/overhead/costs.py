"""What was counted: bytes by layer in both directions, segments, packets, and the stages they belong to."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

TransportName = Literal["tcp", "tls", "ws", "wss"]
VersionName = Literal["3.1.1", "5.0"]

LAYERS: Final = ("payload", "protocol", "websocket", "tls", "tcp_ip")


class Direction(Struct, frozen=True):
    """What went one way."""

    payload: int = 0
    protocol: int = 0
    """Bytes of MQTT (or HTTP, CoAP, AMQP) that are not the payload."""
    websocket: int = 0
    tls: int = 0
    tcp_ip: int = 0
    """Headers of all segments (or of UDP datagrams), those without data too. What lies below IP is not counted."""
    packets: int = 0
    """Of MQTT."""
    segments: int = 0
    """Of TCP, or datagrams."""

    @property
    def stream(self) -> int:
        """Bytes that went through the socket."""
        return self.payload + self.protocol + self.websocket + self.tls

    @property
    def total(self) -> int:
        return self.stream + self.tcp_ip

    def __add__(self, other: Direction) -> Direction:
        return Direction(*(getattr(self, name) + getattr(other, name) for name in self.__struct_fields__))

    def __sub__(self, other: Direction) -> Direction:
        return Direction(*(getattr(self, name) - getattr(other, name) for name in self.__struct_fields__))


class Traffic(Struct, frozen=True):
    """What a client sent and received."""

    sent: Direction = Direction()
    received: Direction = Direction()

    @property
    def both(self) -> Direction:
        return self.sent + self.received

    @property
    def total(self) -> int:
        """Bytes of all layers, both ways."""
        return self.both.total

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.sent + other.sent, self.received + other.received)

    def __sub__(self, other: Traffic) -> Traffic:
        return Traffic(self.sent - other.sent, self.received - other.received)


class SeenPacket(Struct, frozen=True):
    """One MQTT packet, as it passed."""

    client: Literal["publisher", "subscriber"]
    to_broker: bool
    name: str
    detail: str
    """Identifier, flags and properties, for people."""
    packet_bytes: int
    stream_bytes: int
    """The same with WebSocket frame and TLS record around it; 0 where several shared them."""


class Form(Struct, frozen=True, order=True):
    """How MQTT is spoken."""

    transport: TransportName
    version: VersionName
    alias: bool = False
    """With topic aliases (5.0), both ways."""

    def __str__(self) -> str:
        names = {"tcp": "TCP", "tls": "TLS", "ws": "WebSocket", "wss": "WSS"}
        return f"MQTT {self.version}{', alias' if self.alias else ''} · {names[self.transport]}"


StageName = Literal[
    "connect", "subscribe", "publish first", "publish", "deliver first", "deliver", "keep-alive", "disconnect"
]


class Stage(Struct, frozen=True):
    """One stage of a client's life, and what it cost that client."""

    name: StageName
    qos: int | None
    traffic: Traffic
    round_trips: int
    """How often the answer had to be waited for: that of TCP's handshake, of TLS, of WebSocket, of MQTT."""


class Flow(Struct, frozen=True):
    """The packets that one message needed, from its publisher to its subscriber, in the order they were seen."""

    qos: int
    packets: list[SeenPacket]


class Exchange(Struct, frozen=True):
    """A publisher, a broker and a subscriber, from CONNECT to the end of both connections."""

    form: Form
    tls: str
    """Version and cipher suite; empty without TLS."""
    stages: list[Stage]
    flows: list[Flow]
    connections: dict[str, Traffic]
    """All that went over the connection of each of them, from SYN to the last FIN."""

    def stage(self, name: StageName, qos: int | None = None) -> Stage:
        """Raises KeyError for one that was not performed."""
        for stage in self.stages:
            if (stage.name, stage.qos) == (name, qos):
                return stage
        raise KeyError(name, qos)
