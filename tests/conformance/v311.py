"""What the tests of MQTT 3.1.1 share: the old versions, packets that no encoder writes, and two kinds of access."""

from __future__ import annotations

import pytest

from tests.engine.harness import Peer, World
from tests.wire.malformed import framed, sized
from tidewire.engine.connection import Connection
from tidewire.engine.ports import EVERYBODY, Access, Principal
from tidewire.wire.codes import CONNECT, SUBSCRIBE, UNSUBSCRIBE, V31, V311
from tidewire.wire.packets import Connect

old_versions = pytest.mark.parametrize("version", [V31, V311], ids=["3.1", "3.1.1"])
every_qos = pytest.mark.parametrize("qos", [0, 1, 2])
acknowledged_qos = pytest.mark.parametrize("qos", [1, 2])

ID = b"\x00\x07"
ILL_FORMED = {
    "a byte that never occurs": b"a\xff",
    "a lone continuation byte": b"\x80a",
    "an overlong form": b"\xc0\xaf",
    "a character cut short": b"a\xe2\x82",
    "past U+10FFFF": b"\xf4\x90\x80\x80",
    "the surrogate D800": b"\xed\xa0\x80",
    "the surrogate DFFF": b"\xed\xbf\xbf",
}
ill_formed = pytest.mark.parametrize("text", ILL_FORMED.values(), ids=ILL_FORMED)

WRONG_FLAGS = [flags for flags in range(16) if flags != 2]
"""For PUBREL, SUBSCRIBE and UNSUBSCRIBE."""


def raw_connect(flags: int, *fields: bytes, name: bytes = b"MQTT", level: int = V311) -> bytes:
    """A CONNECT with any flags, and with a payload of `fields`, whether they fit or not."""
    return framed(CONNECT << 4, sized(name) + bytes([level, flags, 0, 0]) + b"".join(sized(field) for field in fields))


def raw_publish(first_byte: int, topic: bytes, rest: bytes = b"") -> bytes:
    """A PUBLISH with any first byte; `rest` is all that follows its topic."""
    return framed(first_byte, sized(topic) + rest)


def raw_subscribe(topic_filter: bytes, options: int = 0, flags: int = 2) -> bytes:
    return framed(SUBSCRIBE << 4 | flags, ID + sized(topic_filter) + bytes([options]))


def raw_unsubscribe(topic_filter: bytes, flags: int = 2) -> bytes:
    return framed(UNSUBSCRIBE << 4 | flags, ID + sized(topic_filter))


def refused_silently(peer: Peer) -> bool:
    """Whether the connection was closed without a single byte."""
    return peer.is_closed and peer.take_bytes() == b""


def ends_the_connection(data: bytes) -> bool:
    """Whether a connected client that sends this is closed without an answer, and has subscribed to nothing."""
    world = World()
    peer = world.connect("alice")
    peer.send_bytes(data)
    return refused_silently(peer) and world.broker.statistics.subscriptions == 0


def refused_in_connect(data: bytes) -> bool:
    """Whether a new connection that sends this is closed without CONNACK and without a trace."""
    world = World()
    peer = world.open()
    peer.send_bytes(data)
    return refused_silently(peer) and not world.broker.sessions


def watcher(world: World) -> Peer:
    """Somebody who gets every message, at the QoS of its publisher."""
    peer = world.connect("watcher")
    peer.subscribe("#", qos=2)
    return peer


class RecordingAccess(Access):
    """Answers every CONNECT with one reason code, and keeps what it was asked."""

    def __init__(self, reason_code: int = 0) -> None:
        super().__init__()
        self.reason_code = reason_code
        self.seen: list[Connect] = []

    def authenticate(self, packet: Connect, connection: Connection) -> tuple[int, Principal | None] | None:
        self.seen.append(packet)
        return self.reason_code, EVERYBODY


class OneForbiddenTopic(Access):
    """Nobody may publish or subscribe to `forbidden`."""

    def __init__(self) -> None:
        super().__init__()
        self.unrestricted = False

    def may_publish(self, principal: Principal, topic: bytes) -> bool:
        return topic != b"forbidden"

    def may_subscribe(self, principal: Principal, topic_filter: bytes) -> bool:
        return topic_filter != b"forbidden"
