"""Does what takes time happen when the test's clock says so, in its order, and only then?"""

from __future__ import annotations

import pytest

from tests.process import BareClient
from tests.testing.conftest import MakeClient
from tidewire.testing import BrokerThread
from tidewire.wire import properties as p
from tidewire.wire.codes import PUBACK, ReasonCode
from tidewire.wire.packets import Acknowledgement, Connack, Connect, Disconnect, Pingreq, Pingresp, Publish, Will
from tidewire.wire.properties import Properties

WEEK_S = 7 * 24 * 3600


def integers(**named: int) -> Properties:
    """`integers(session_expiry_interval=60)`"""
    properties = Properties()
    properties.integers = {getattr(p, name.upper()): value for name, value in named.items()}
    return properties


def nothing_came(client: BareClient) -> bool:
    """Whether the answer to a PINGREQ is all that was on its way."""
    client.send(Pingreq())
    return client.receive() == Pingresp()


def test_a_client_that_is_silent_for_one_and_a_half_times_its_keep_alive_is_cut(
    broker: BrokerThread, connect: MakeClient
) -> None:
    client = connect(keep_alive=60)
    broker.clock.advance(89)
    assert broker.clients == ["alice"]
    broker.clock.advance(1)
    assert broker.clients == []
    said = client.receive()
    assert isinstance(said, Disconnect)
    assert said.reason_code == ReasonCode.KEEP_ALIVE_TIMEOUT


def test_what_a_client_has_sent_before_time_passes_counts(broker: BrokerThread, connect: MakeClient) -> None:
    client = connect(keep_alive=60)
    for _ in range(5):
        client.send(Pingreq())
        broker.clock.advance(80)
        assert client.receive() == Pingresp()
    assert broker.clients == ["alice"]


def test_what_is_still_on_its_way_into_the_broker_counts_too(broker: BrokerThread) -> None:
    with BareClient(("127.0.0.1", broker.port), 5) as client:
        client.send(Connect("alice", 5, keep_alive=60))
        broker.clock.advance(90)
        assert isinstance(client.receive(), Connack)
        assert isinstance(client.receive(), Disconnect)


def test_a_session_ends_when_its_expiry_interval_is_over(broker: BrokerThread, connect: MakeClient) -> None:
    later = integers(session_expiry_interval=60)
    for seconds, present in ((0, False), (59, True), (60, False)):
        broker.clock.advance(seconds)
        client = connect(clean_start=False, properties=later)
        assert client.connack.session_present is present
        client.send(Disconnect())
        broker.wait_until(lambda: broker.clients == [])


def test_a_session_of_3_1_1_ends_after_a_week(broker: BrokerThread, connect: MakeClient) -> None:
    for seconds, present in ((0, False), (WEEK_S - 1, True), (WEEK_S, False)):
        broker.clock.advance(seconds)
        client = connect(version=4, clean_start=False)
        assert client.connack.session_present is present
        client.send(Disconnect())
        broker.wait_until(lambda: broker.clients == [])


def test_a_message_expires_while_it_waits(broker: BrokerThread, connect: MakeClient) -> None:
    session = {"clean_start": False, "properties": integers(session_expiry_interval=600)}
    sleeper = connect("sleeper", **session)
    sleeper.subscribe("a", 1)
    sleeper.send(Disconnect())
    broker.wait_until(lambda: broker.clients == [])
    for payload, expiry in ((b"short", 10), (b"long", 100)):
        broker.publish("a", payload, qos=1, properties=integers(message_expiry_interval=expiry))
    broker.clock.advance(40)
    message = connect("sleeper", **session).receive()
    assert isinstance(message, Publish)
    assert (message.payload, message.properties) == (b"long", integers(message_expiry_interval=60))


def test_a_retained_message_expires(broker: BrokerThread, connect: MakeClient) -> None:
    broker.publish("a", b"x", retain=True, properties=integers(message_expiry_interval=10))
    broker.clock.advance(11)
    client = connect()
    client.subscribe("a")
    assert nothing_came(client)


def test_a_will_waits_for_its_delay(broker: BrokerThread, connect: MakeClient) -> None:
    subscriber = connect("subscriber")
    subscriber.subscribe("status")
    will = Will(b"status", b"offline", properties=integers(will_delay_interval=30))
    connect("board", will=will, properties=integers(session_expiry_interval=60))
    broker.faults.cut("board")
    broker.wait_until(lambda: broker.clients == ["subscriber"])
    broker.clock.advance(29)
    assert nothing_came(subscriber)
    broker.clock.advance(1)
    assert subscriber.receive() == Publish(b"status", b"offline")
    assert [(message.topic, message.is_will) for message in broker.received] == [("status", True)]


def test_what_is_due_happens_in_its_order_however_far_time_jumps(broker: BrokerThread, connect: MakeClient) -> None:
    subscriber = connect("subscriber")
    subscriber.subscribe("#")
    for seconds in (300, 7, 90_000, 20, 11):
        will = Will(b"after", str(seconds).encode(), properties=integers(will_delay_interval=seconds))
        connect(f"board-{seconds}", will=will, properties=integers(session_expiry_interval=100_000))
    broker.faults.delay("PUBACK", 15)
    subscriber.send(Publish(b"own", b"", 1, packet_identifier=9))
    assert subscriber.receive() == Publish(b"own")
    for seconds in (300, 7, 90_000, 20, 11):
        broker.faults.cut(f"board-{seconds}")
    broker.wait_until(lambda: broker.clients == ["subscriber"])
    broker.clock.advance(24 * 3600 + 3600)
    came = [subscriber.receive() for _ in range(6)]
    wills = [message.payload for message in came if isinstance(message, Publish)]
    assert wills == [b"7", b"11", b"20", b"300", b"90000"]
    assert came[2] == Acknowledgement(PUBACK, 9, 0)


def test_time_stands_still_until_it_is_told_to_pass(broker: BrokerThread) -> None:
    before = broker.clock.now
    broker.clock.advance(0)
    assert broker.clock.now == before
    broker.clock.advance(12.5)
    assert broker.clock.now == before + 12.5
    with pytest.raises(ValueError, match="time does not run backwards"):
        broker.clock.advance(-1)


@pytest.mark.tidewire(limits={"sys_interval_s": 10})
def test_sys_topics_are_published_by_the_same_clock(broker: BrokerThread, connect: MakeClient) -> None:
    client = connect()
    client.subscribe("$SYS/broker/uptime")
    uptimes = []
    for _ in range(3):
        broker.clock.advance(10)
        message = client.receive()
        assert isinstance(message, Publish)
        uptimes.append(int(message.payload.split()[0]))
    assert uptimes[2] - uptimes[1] == uptimes[1] - uptimes[0] == 10
