"""Packets of MQTT 5.0 byte by byte, properties that may repeat, and how a connection was refused."""

from __future__ import annotations

from tests.engine.harness import World
from tests.wire.malformed import framed, sized
from tidewire.wire.packets import Connack
from tidewire.wire.properties import Properties


def user_properties(*pairs: tuple[str, str]) -> Properties:
    """User Properties alone."""
    result = Properties()
    result.user_properties += pairs
    return result


def subscription_identifiers(*values: int) -> Properties:
    """Subscription Identifiers alone."""
    result = Properties()
    result.subscription_identifiers += values
    return result


def block(encoded: bytes) -> bytes:
    """Encoded properties after their length."""
    return bytes([len(encoded)]) + encoded


def raw_connect(flags: int = 0x02, payload: bytes = b"\0\1c", name: bytes = b"MQTT", level: int = 5) -> bytes:
    """A CONNECT without properties; right as it stands."""
    return framed(0x10, sized(name) + bytes([level, flags]) + b"\0\0" + b"\0" + payload)


def raw_publish(topic: bytes = b"t", encoded: bytes = b"", payload: bytes = b"x") -> bytes:
    """A PUBLISH at QoS 0; `encoded` are its properties."""
    return framed(0x30, sized(topic) + block(encoded) + payload)


def raw_subscribe(topic_filter: bytes = b"t", encoded: bytes = b"") -> bytes:
    return framed(0x82, b"\0\1" + block(encoded) + sized(topic_filter) + b"\0")


def refusal_of(first_bytes: bytes) -> int:
    """The reason code of the CONNACK with which a connection that begins like this is refused and closed."""
    peer = World().open(5)
    peer.send_bytes(first_bytes)
    assert peer.is_closed
    (connack,) = peer.take()
    assert isinstance(connack, Connack) and not connack.session_present
    return connack.reason_code


def silent_refusal_of(first_bytes: bytes) -> int:
    """The reason code that the broker reports when it closes a connection that begins like this without a word."""
    world = World()
    peer = world.open(5)
    peer.send_bytes(first_bytes)
    assert peer.is_closed
    assert peer.take_bytes() == b""
    return refusal_reported(world)


def refusal_reported(world: World) -> int:
    """The reason code of the last event, which tells of a connection that got no session."""
    event = world.events.log[-1]
    assert event[0] == "refused", event
    code: int = event[1]
    return code
