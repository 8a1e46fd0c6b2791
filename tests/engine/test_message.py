"""Is a message encoded as `wire.packets` would, whole or in the pieces that subscribers share?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.wire.strategies import many, topic_names
from tidewire.engine.message import IDENTIFIERS, Message, encode_publish
from tidewire.wire.framing import Decoder
from tidewire.wire.packets import Publish
from tidewire.wire.properties import MESSAGE_EXPIRY_INTERVAL, TOPIC_ALIAS, Properties

NOW = 1000.0

plain = st.builds(
    Message,
    topic_names,
    st.binary(max_size=200),
    st.integers(0, 2),
    st.booleans(),
    st.sampled_from([b"", b"\x01\x01", b"\x26\0\1a\0\1b"]),
    st.just(0.0),
    st.just("publisher"),
    st.sampled_from([b"", b"\x0b\x05", b"\x0b\x05\x0b\xac\x02"]),
)


def decoded(packet: bytes, version: int) -> Publish:
    (found,) = Decoder(version, 100_000).feed(packet)
    assert isinstance(found, Publish)
    return found


@many
@given(plain, st.sampled_from([3, 4, 5]), st.integers(1, 65_535))
def test_the_shared_pieces_make_the_same_packet_as_the_whole(message: Message, version: int, number: int) -> None:
    whole = encode_publish(message, version, IDENTIFIERS[number], False, 0, NOW)
    identifier = IDENTIFIERS[number] if message.qos else b""
    if version == 5:
        assert message.head_v5() + identifier + message.tail_v5() == whole
    else:
        assert message.head_v3() + identifier + message.payload == whole
    again = decoded(whole, version)
    assert (again.topic, again.payload, again.qos, again.retain) == (
        message.topic,
        message.payload,
        message.qos,
        message.retain,
    )
    assert again.packet_identifier == (number if message.qos else 0)
    if version == 5:
        assert again.properties.encode_body() == _sorted_body(message.properties + message.identifiers)


def _sorted_body(properties: bytes) -> bytes:
    """As `Properties.encode_body` orders them: identifiers before User Properties."""
    if properties.startswith(b"\x26"):
        return properties[7:] + properties[:7]
    return properties


@many
@given(plain, st.integers(-9, 9), st.floats(0.0, 500.0), st.booleans())
def test_alias_expiry_and_duplicate_travel_with_one_copy(message: Message, alias: int, after: float, dup: bool) -> None:
    message.expires_at = NOW + 500.0
    packet = encode_publish(message, 5, IDENTIFIERS[1], dup and message.qos > 0, alias, NOW + after)
    # an alias alone leaves the topic empty [MQTT-3.3.2-8]
    again = decoded(packet, 5)
    assert again.topic == (b"" if alias < 0 else message.topic)
    assert again.dup == (dup and message.qos > 0)
    assert again.properties.integers.get(TOPIC_ALIAS, 0) == abs(alias)
    assert abs(again.properties.integers[MESSAGE_EXPIRY_INTERVAL] - (500.0 - after)) <= 1.0
    old = decoded(encode_publish(message, 4, IDENTIFIERS[1], False, 0, NOW + after), 4)
    assert old.properties == Properties()


@given(plain, st.integers(0, 2), st.booleans())
def test_a_variant_differs_in_its_options_alone(message: Message, qos: int, retain: bool) -> None:
    variant = message.variant(qos, retain, b"\x0b\x07")
    assert (variant.qos, variant.retain, variant.identifiers) == (qos, retain, b"\x0b\x07")
    for name in ("topic", "payload", "properties", "expires_at", "publisher"):
        assert getattr(variant, name) == getattr(message, name)
    assert variant.size() == len(message.topic) + len(message.payload) + len(message.properties)
