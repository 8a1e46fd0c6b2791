"""Packets of MQTT 5.0 byte by byte, properties in one line, and how a connection ended."""

from __future__ import annotations

from collections.abc import Iterable

from tests.engine.harness import Peer, World
from tests.wire.malformed import framed, sized
from tidewire.wire.packets import Disconnect
from tidewire.wire.properties import Properties


def properties(
    values: dict[int, int | str | bytes] | None = None,
    user_properties: Iterable[tuple[str, str]] = (),
    subscription_identifiers: Iterable[int] = (),
) -> Properties:
    """Properties by their identifiers."""
    result = Properties()
    for identifier, value in (values or {}).items():
        if isinstance(value, int):
            result.integers[identifier] = value
        elif isinstance(value, str):
            result.texts[identifier] = value
        else:
            result.binaries[identifier] = value
    result.user_properties += user_properties
    result.subscription_identifiers += subscription_identifiers
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


def ended_with(peer: Peer) -> int:
    """The reason code of the DISCONNECT with which the broker ended the connection."""
    assert peer.is_closed
    last = peer.take()[-1]
    assert isinstance(last, Disconnect), last
    return last.reason_code


def refused_with(world: World, first_bytes: bytes) -> int:
    """Open a connection with these bytes, which the broker closes without a word; the reason code that it reports."""
    peer = world.open(5)
    peer.send_bytes(first_bytes)
    assert peer.is_closed
    assert peer.take_bytes() == b""
    event = world.events.log[-1]
    assert event[0] == "refused", event
    code: int = event[1]
    return code
