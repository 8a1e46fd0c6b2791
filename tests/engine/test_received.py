"""Does a message show what it is, and does an inbox keep to its policy?"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.client_harness import Client, Reader, message_packet
from tidewire.engine.message import IDENTIFIERS
from tidewire.engine.received import (
    BLOCK,
    BLOCK_SLACK_MESSAGES,
    DROP_NEWEST,
    DROP_OLDEST,
    ERROR,
    Inbox,
    Message,
)
from tidewire.wire.codes import PUBACK
from tidewire.wire.packets import Acknowledgement
from tidewire.wire.properties import (
    CONTENT_TYPE,
    CORRELATION_DATA,
    MESSAGE_EXPIRY_INTERVAL,
    PAYLOAD_FORMAT_INDICATOR,
    RESPONSE_TOPIC,
    Properties,
)


def message(payload: bytes = b"x", flags: int = 0, properties: Properties | None = None) -> Message:
    identifier = IDENTIFIERS[300] if flags & 6 else b""
    return Message("a/b", payload, flags, properties or Properties(), identifier, Client().session)


def test_a_message_shows_what_its_packet_said() -> None:
    properties = Properties()
    properties.integers = {PAYLOAD_FORMAT_INDICATOR: 1, MESSAGE_EXPIRY_INTERVAL: 9}
    properties.texts = {CONTENT_TYPE: "text/plain", RESPONSE_TOPIC: "answers"}
    properties.binaries = {CORRELATION_DATA: b"\x01"}
    properties.user_properties = [("k", "v")]
    properties.subscription_identifiers = [3, 4]
    full = message(b"text", 0b1101, properties)
    assert (full.topic, full.payload, full.qos, full.retain, full.dup) == ("a/b", b"text", 2, True, True)
    assert (full.packet_identifier, full.identifier()) == (300, IDENTIFIERS[300])
    assert (full.payload_format, full.message_expiry, full.content_type) == (1, 9, "text/plain")
    assert (full.response_topic, full.correlation_data) == ("answers", b"\x01")
    assert (full.user_properties, full.subscription_identifiers) == ([("k", "v")], [3, 4])
    assert full.properties is properties


def test_what_a_packet_did_not_say_is_none() -> None:
    bare = message()
    assert (bare.qos, bare.retain, bare.dup, bare.packet_identifier) == (0, False, False, 0)
    assert (bare.payload_format, bare.message_expiry, bare.content_type) == (None, None, None)
    assert (bare.response_topic, bare.correlation_data) == (None, None)
    assert (bare.user_properties, bare.subscription_identifiers) == ([], [])


def test_a_payload_is_text_or_json_where_it_is() -> None:
    assert message("é".encode()).text() == "é"
    assert message(b'{"feet": 100}').json() == {"feet": 100}
    assert message(b'{"feet": 100}').json(dict[str, float]) == {"feet": 100.0}
    with pytest.raises(ValueError, match="utf-8"):
        message(b"\xff").text()
    with pytest.raises(ValueError, match="truncated"):
        message(b"{").json()
    with pytest.raises(ValueError, match="Expected `int`"):
        message(b'"a"').json(int)


def test_a_message_is_read_only() -> None:
    with pytest.raises(AttributeError):
        message().payload = b"other"  # type: ignore[misc]


def test_a_message_shows_itself_shortly() -> None:
    assert repr(message()) == "Message('a/b', b'x', qos=0)"
    assert repr(message(bytes(65), 3)) == f"Message('a/b', {bytes(64)!r}..., qos=1, retain=True)".replace(
        "'...", "...'"
    )


# -- inboxes


@given(
    maximum=st.integers(1, 5),
    overflow=st.sampled_from([DROP_OLDEST, DROP_NEWEST, ERROR]),
    steps=st.lists(st.booleans(), max_size=30),
)
@settings(deadline=None)
def test_an_inbox_keeps_the_oldest_or_the_newest_and_counts_the_rest(
    maximum: int, overflow: int, steps: list[bool]
) -> None:
    inbox = Inbox(maximum, overflow)
    expected: list[bytes] = []
    dropped = 0
    for number, comes in enumerate(steps):
        payload = b"%d" % number
        if not comes:
            if inbox.messages:
                assert inbox.messages.popleft().payload == expected.pop(0)
            continue
        taken = inbox.add(message(payload))
        is_full = len(expected) == maximum
        assert taken is (not is_full or overflow == DROP_OLDEST)
        dropped += is_full
        if taken:
            expected = [*expected, payload][-maximum:]
    assert [kept.payload for kept in inbox.messages] == expected
    assert inbox.dropped == dropped
    assert inbox.overflowed is (overflow == ERROR and dropped > 0)
    assert not inbox.is_full()


def test_an_inbox_that_blocks_says_when_it_is_full_and_takes_a_read_more() -> None:
    inbox = Inbox(2, BLOCK)
    assert inbox.add(message()) and not inbox.is_full()
    assert inbox.add(message()) and inbox.is_full()
    assert inbox.add(message()) and inbox.is_full()
    assert inbox.dropped == 0
    inbox.messages.extend([message()] * (2 + BLOCK_SLACK_MESSAGES - len(inbox.messages) - 1))
    assert inbox.add(message())
    assert not inbox.add(message())
    assert inbox.add(message(flags=2))
    assert inbox.add(message(flags=4))
    assert inbox.dropped == 1


@pytest.mark.parametrize("overflow", [BLOCK, DROP_OLDEST, DROP_NEWEST, ERROR])
def test_a_reader_who_waits_is_woken_once_by_what_comes_and_by_what_is_lost(overflow: int) -> None:
    reader = Reader(1, overflow)
    reader.add(message())
    assert reader.woken == 0
    reader.read()
    reader.waiting = True
    reader.add(message())
    assert reader.woken == 1 and not reader.waiting
    reader.waiting = True
    reader.add(message())
    reader.add(message())
    assert reader.woken == 2


def test_an_inbox_without_a_waker_may_be_waited_for() -> None:
    inbox = Inbox(1, DROP_NEWEST)
    inbox.waiting = True
    inbox.add(message())
    assert not inbox.waiting


def test_a_message_that_an_inbox_drops_for_a_newer_one_is_acknowledged() -> None:
    client = Client()
    client.connect()
    reader = Reader(1, DROP_OLDEST)
    client.subscribe(reader, "t")
    client.send(message_packet("t", "a", 1, 1), message_packet("t", "b", 1, 2), message_packet("t", "c"))
    assert client.take() == [Acknowledgement(PUBACK, 1), Acknowledgement(PUBACK, 2)]
    assert (reader.texts(), reader.dropped) == (["c"], 2)
