"""MQTT 5.0, sections 3.1.2.5 to 3.1.2.7 and 3.1.3.2 to 3.1.3.4: the Will Message."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.exchange import end_code, only_message, properties
from tests.conformance.v5 import raw_connect, refusal_of, user_properties
from tests.conformance.v311 import ILL_FORMED
from tests.engine.harness import Peer, World
from tests.wire.malformed import sized
from tidewire.wire.packets import Will

ENDS: dict[str, Callable[[Peer], None]] = {
    "the network fails": Peer.lose,
    "a protocol error": lambda peer: peer.send_bytes(b"\xd0\0"),
    "keep alive": lambda peer: peer.world.advance(20),
    "DISCONNECT with will": lambda peer: peer.disconnect(0x04),
    "DISCONNECT with an error": lambda peer: peer.disconnect(0x80),
    "taken over": lambda peer: peer.world.connect("c", 5) and None,
}
every_end = pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
every_qos = pytest.mark.parametrize("qos", [0, 1, 2])


def watched(**options: bool) -> tuple[World, Peer]:
    """A world, and somebody who gets its wills."""
    world = World()
    watcher = world.connect("watcher", 5)
    watcher.subscribe("will", qos=2, **options)
    return world, watcher


def delayed(delay: int) -> Will:
    return Will(b"will", b"gone", properties=properties(will_delay_interval=delay))


@every_end
def test_v5_3_1_2_7_the_will_must_be_stored_for_the_session(end: Callable[[Peer], None]) -> None:
    world, watcher = watched()
    carried = properties(content_type="type", payload_format_indicator=1, correlation_data=b"\0")
    peer = world.connect("c", 5, keep_alive=10, will=Will(b"will", b"gone", 1, properties=carried))
    assert watcher.messages() == []
    end(peer)
    message = only_message(watcher)
    assert (message.payload, message.qos, message.properties) == (b"gone", 1, carried)


@pytest.mark.parametrize(("delay", "expiry", "after"), [(0, 60, 0), (10, 60, 10), (60, 10, 10), (10, 0, 0)])
def test_v5_3_1_2_8_the_will_must_be_published_when_delay_or_session_end(delay: int, expiry: int, after: int) -> None:
    world, watcher = watched()
    world.connect("c", 5, will=delayed(delay), properties=properties(session_expiry_interval=expiry)).lose()
    if after:
        world.advance(after - 0.5)
        assert watcher.messages() == []
        world.advance(1)
    assert only_message(watcher).payload == b"gone"


@pytest.mark.parametrize(("clean_start", "expiry"), [(True, 60), (True, 0), (False, 0)])
def test_v5_3_1_2_8_a_takeover_that_ends_the_session_must_publish_a_delayed_will(
    clean_start: bool, expiry: int
) -> None:
    world, watcher = watched()
    peer = world.connect("c", 5, will=delayed(10), properties=properties(session_expiry_interval=expiry))
    world.connect("c", 5, clean_start=clean_start)
    assert end_code(peer) == 0x8E
    assert only_message(watcher).payload == b"gone"


@pytest.mark.parametrize(
    "present",
    [b"", b"\0", b"\0" + sized(b"will"), b"\0" + sized(b"will") + b"\0\2p", sized(b"will") + sized(b"p")],
    ids=["nothing", "no topic", "no payload", "half a payload", "no properties"],
)
def test_v5_3_1_2_9_a_will_must_have_properties_topic_and_payload(present: bytes) -> None:
    assert refusal_of(raw_connect(0x06, sized(b"c") + present)) == 0x81


@pytest.mark.parametrize("delay", [0, 5])
def test_v5_3_1_2_10_a_published_will_must_be_removed(delay: int) -> None:
    world, watcher = watched()
    kept = properties(session_expiry_interval=60)
    world.connect("c", 5, will=delayed(delay), properties=kept).lose()
    world.advance(6)
    assert only_message(watcher).payload == b"gone"
    world.advance(60)
    world.connect("c", 5, clean_start=False).lose()
    assert watcher.messages() == []


def test_v5_3_1_2_10_disconnect_must_remove_the_will() -> None:
    world, watcher = watched()
    peer = world.connect("c", 5, will=delayed(5), properties=properties(session_expiry_interval=60))
    peer.disconnect()
    world.advance(100)
    assert watcher.messages() == []


@pytest.mark.parametrize("flags", [0x08, 0x10, 0x18])
def test_v5_3_1_2_11_without_a_will_its_qos_must_be_0(flags: int) -> None:
    assert refusal_of(raw_connect(0x02 | flags)) == 0x81


@every_qos
def test_v5_3_1_2_12_the_qos_of_a_will_must_be_0_1_or_2(qos: int) -> None:
    world, watcher = watched()
    world.connect("c", 5, will=Will(b"will", b"gone", qos)).lose()
    assert only_message(watcher).qos == qos
    assert refusal_of(raw_connect(0x1E, sized(b"c") + b"\0" + sized(b"will") + sized(b"gone"))) == 0x81


def test_v5_3_1_2_13_without_a_will_its_retain_must_be_0() -> None:
    assert refusal_of(raw_connect(0x22)) == 0x81


@every_qos
def test_v5_3_1_2_14_a_will_without_retain_must_not_be_retained(qos: int) -> None:
    world, watcher = watched(retain_as_published=True)
    world.connect("c", 5, will=Will(b"will", b"gone", qos)).lose()
    assert not only_message(watcher).retain
    late = world.connect("late", 5)
    late.subscribe("will")
    assert late.messages() == []


@every_qos
def test_v5_3_1_2_15_a_will_with_retain_must_be_retained(qos: int) -> None:
    world, watcher = watched(retain_as_published=True)
    world.connect("c", 5, will=Will(b"will", b"gone", qos, True)).lose()
    assert only_message(watcher).retain
    late = world.connect("late", 5)
    late.subscribe("will", qos=2)
    message = only_message(late)
    assert (message.payload, message.qos, message.retain) == (b"gone", qos, True)


@pytest.mark.parametrize("pause", [0, 9])
@pytest.mark.parametrize("broken", [True, False], ids=["reconnects", "takes over"])
def test_v5_3_1_3_9_the_will_must_not_be_sent_when_the_client_is_back_in_time(pause: int, broken: bool) -> None:
    world, watcher = watched()
    kept = properties(session_expiry_interval=60)
    peer = world.connect("c", 5, will=delayed(10), properties=kept)
    if broken:
        peer.lose()
    world.advance(pause)
    assert world.connect("c", 5, clean_start=False, properties=kept).connack.session_present
    world.advance(100)
    assert watcher.messages() == []


def test_v5_3_1_3_10_user_properties_of_a_will_must_keep_their_order() -> None:
    world, watcher = watched()
    pairs = [("b", "1"), ("a", "2"), ("b", "1"), ("", ""), ("a", "1")]
    world.connect("c", 5, will=Will(b"will", properties=user_properties(*pairs))).lose()
    assert only_message(watcher).properties.user_properties == pairs


@pytest.mark.parametrize("text", [b"a\0b", *ILL_FORMED.values()], ids=["U+0000", *ILL_FORMED])
def test_v5_3_1_3_11_the_will_topic_must_be_a_valid_string(text: bytes) -> None:
    assert refusal_of(raw_connect(0x06, sized(b"c") + b"\0" + sized(text) + sized(b"gone"))) == 0x81
