"""Does each fault happen to the packet or the client that it is for, and to no other?"""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.process import BareClient
from tests.testing.conftest import MakeClient
from tidewire.testing import BrokerThread
from tidewire.wire.codes import PUBACK, PUBCOMP, PUBREC, PUBREL, ReasonCode
from tidewire.wire.packets import Acknowledgement, Connect, Disconnect, Pingreq, Pingresp, Publish, Will

VERSIONS = [pytest.param(4, id="3.1.1"), pytest.param(5, id="5.0")]


def publish(client: BareClient, *identifiers: int, qos: int = 1) -> None:
    client.send(*[Publish(b"a", str(each).encode(), qos, packet_identifier=each) for each in identifiers])


def acknowledged(client: BareClient, count: int) -> list[int]:
    """The packet identifiers of so many PUBACKs and PUBRECs, and that no other packet comes after them."""
    client.send(Pingreq())
    identifiers = []
    for _ in range(count):
        answer = client.receive()
        assert isinstance(answer, Acknowledgement), answer
        identifiers.append(answer.packet_identifier)
    assert client.receive() == Pingresp()
    return identifiers


@pytest.mark.parametrize("version", VERSIONS)
def test_the_nth_packet_that_the_broker_sends_gets_lost(
    broker: BrokerThread, connect: MakeClient, version: int
) -> None:
    fault = broker.faults.drop("PUBACK", 2)
    client = connect(version=version)
    publish(client, 1, 2, 3)
    assert acknowledged(client, 2) == [1, 3]
    assert fault.done
    assert len(broker.received) == 3


@pytest.mark.parametrize("version", VERSIONS)
def test_the_nth_packet_that_a_client_sends_gets_lost(broker: BrokerThread, connect: MakeClient, version: int) -> None:
    broker.faults.drop("PUBLISH", 2, times=2)
    client = connect(version=version)
    publish(client, 1, 2, 3, 4)
    assert acknowledged(client, 2) == [1, 4]
    assert [message.payload for message in broker.received] == [b"1", b"4"]


def test_the_next_packet_is_meant_unless_it_is_said_otherwise(broker: BrokerThread, connect: MakeClient) -> None:
    client = connect()
    publish(client, 1)
    assert acknowledged(client, 1) == [1]
    broker.faults.drop("PUBACK")
    publish(client, 2, 3)
    assert acknowledged(client, 1) == [3]


def test_faults_for_the_same_packet_take_one_each(broker: BrokerThread, connect: MakeClient) -> None:
    faults = [broker.faults.drop("PUBACK"), broker.faults.duplicate("PUBACK"), broker.faults.drop("PUBACK", 3)]
    client = connect()
    publish(client, 1, 2, 3, 4)
    assert acknowledged(client, 3) == [2, 2, 4]
    assert [fault.happened for fault in faults] == [1, 1, 1]


def test_a_packet_arrives_twice(broker: BrokerThread, connect: MakeClient) -> None:
    broker.faults.duplicate("PUBLISH")
    client = connect()
    publish(client, 1, 2)
    assert acknowledged(client, 3) == [1, 1, 2]
    assert [message.payload for message in broker.received] == [b"1", b"1", b"2"]


def test_qos_2_stays_exactly_once_when_every_packet_of_it_arrives_twice(
    broker: BrokerThread, connect: MakeClient
) -> None:
    client = connect()
    for kind in ("PUBLISH", "PUBREC", "PUBREL", "PUBCOMP"):
        broker.faults.duplicate(kind)
    publish(client, 1, qos=2)
    nobody = ReasonCode.NO_MATCHING_SUBSCRIBERS
    # One answer to each PUBLISH, and the first answer twice.
    answers = [Acknowledgement(PUBREC, 1, nobody), Acknowledgement(PUBREC, 1, nobody), Acknowledgement(PUBREC, 1)]
    assert [client.receive() for _ in range(3)] == answers
    client.send(Acknowledgement(PUBREL, 1))
    assert client.receive() == client.receive() == Acknowledgement(PUBCOMP, 1)
    assert client.receive() == Acknowledgement(PUBCOMP, 1, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)
    assert len(broker.received) == 1


@pytest.mark.parametrize("kind", ["PUBLISH", "PUBACK"])
def test_a_late_packet_comes_when_the_clock_says_and_holds_up_no_other(
    broker: BrokerThread, connect: MakeClient, kind: str
) -> None:
    broker.faults.delay(kind, 5)
    client = connect()
    publish(client, 1, 2)
    assert acknowledged(client, 1) == [2]
    broker.clock.advance(4.5)
    assert acknowledged(client, 0) == []
    broker.clock.advance(0.5)
    assert acknowledged(client, 1) == [1]


def test_a_late_packet_comes_at_its_time_and_not_when_something_else_is_due(broker_factory: Any) -> None:
    seen: list[float] = []
    broker: BrokerThread = broker_factory(on_publish=lambda request: seen.append(broker.clock.now))
    broker.faults.delay("PUBLISH", 5.1)
    with BareClient(("127.0.0.1", broker.port), 5).connect() as client:
        publish(client, 1)
        began = broker.clock.now
        broker.clock.advance(60)
        assert acknowledged(client, 1) == [1]
    assert seen == [pytest.approx(began + 5.1)]


def test_a_fault_is_for_one_client(broker: BrokerThread, connect: MakeClient) -> None:
    broker.faults.drop("PUBACK", client="bob")
    alice, bob = connect("alice"), connect("bob")
    publish(alice, 1)
    assert acknowledged(alice, 1) == [1]
    publish(bob, 1, 2)
    assert acknowledged(bob, 1) == [2]


def test_a_fault_is_for_one_direction(broker: BrokerThread, connect: MakeClient) -> None:
    client = connect()
    client.subscribe("a")
    broker.faults.drop("PUBLISH", sender="broker")
    client.send(Publish(b"a", b"1"), Publish(b"a", b"2"))
    assert client.receive() == Publish(b"a", b"2")
    assert [message.payload for message in broker.received] == [b"1", b"2"]


def test_a_fault_can_meet_the_first_packets_of_all(broker: BrokerThread, connect: MakeClient) -> None:
    broker.faults.drop("CONNECT", client="alice")
    connect("bob")
    with BareClient(("127.0.0.1", broker.port), 5) as alice:
        alice.send(Connect("alice", 5))  # which gets lost, or the next would be one too many
        alice.connect("alice")
        assert acknowledged(alice, 0) == []
    fault = broker.faults.cut_at("CONNACK", client="carol")
    with BareClient(("127.0.0.1", broker.port), 5) as carol:
        carol.send(Connect("carol", 5))
        assert carol.receive() is None
    assert fault.done


def test_packets_are_found_however_they_are_cut(broker: BrokerThread, connect: MakeClient) -> None:
    broker.faults.drop("PUBLISH", 2)
    client = connect()
    data = b"".join(Publish(b"a", bytes(300), 1, packet_identifier=each).encode(5) for each in (1, 2, 3))
    for position in range(0, len(data), 100):
        client.send_bytes(data[position : position + 100])
    assert acknowledged(client, 2) == [1, 3]


def test_what_is_no_packet_is_left_to_the_broker(broker: BrokerThread, connect: MakeClient) -> None:
    client = connect()
    client.send_bytes(b"\x30\xff\xff\xff\xff\xff")
    said = client.receive()
    assert isinstance(said, Disconnect)
    assert said.reason_code == ReasonCode.MALFORMED_PACKET


@pytest.mark.parametrize("kind", ["PUBLISH", "PUBACK"])
def test_the_connection_breaks_before_the_nth_packet(broker: BrokerThread, connect: MakeClient, kind: str) -> None:
    broker.faults.cut_at(kind, 2)
    client = connect()
    publish(client, 1, 2, 3)
    answers = list(client.packets())
    assert answers == (
        [Acknowledgement(PUBACK, 1, ReasonCode.NO_MATCHING_SUBSCRIBERS)] if kind == "PUBACK" else answers
    )
    broker.wait_until(lambda: broker.clients == [])
    assert [message.payload for message in broker.received] == ([b"1"] if kind == "PUBLISH" else [b"1", b"2", b"3"])


def test_a_client_is_cut_and_its_will_is_published(broker: BrokerThread, connect: MakeClient) -> None:
    alice, bob = connect("alice", will=Will(b"status", b"offline")), connect("bob")
    broker.faults.cut("alice")
    assert alice.receive() is None
    assert [message.payload for message in broker.wait_for("status")] == [b"offline"]
    bob.send(Pingreq())
    assert bob.receive() == Pingresp()
    broker.faults.cut()
    assert bob.receive() is None


def test_nothing_gets_through_a_half_open_connection_until_the_broker_gives_it_up(
    broker: BrokerThread, connect: MakeClient
) -> None:
    client = connect(keep_alive=60, will=Will(b"status", b"offline"))
    client.subscribe("a")
    broker.faults.half_open("alice")
    publish(client, 1)
    broker.publish("a", b"unheard")
    broker.clock.advance(80)
    assert broker.clients == ["alice"]
    broker.clock.advance(20)
    assert broker.clients == []
    assert [message.topic for message in broker.received] == ["status"]
    client.socket.settimeout(0.0)
    with pytest.raises(BlockingIOError):  # neither bytes nor an end
        client.receive()


def test_a_client_takes_its_session_back_from_its_half_open_connection(
    broker: BrokerThread, connect: MakeClient
) -> None:
    connect("alice")
    broker.faults.half_open("alice")
    again = connect("alice")
    publish(again, 1)
    assert acknowledged(again, 1) == [1]


def test_a_half_open_connection_whose_client_leaves_stays_for_the_broker(
    broker: BrokerThread, connect: MakeClient
) -> None:
    client = connect(keep_alive=10)
    broker.faults.half_open()
    client.socket.shutdown(socket.SHUT_WR)
    broker.clock.advance(10)
    assert broker.clients == ["alice"]
    client.socket.settimeout(0.0)
    with pytest.raises(BlockingIOError):  # it is not told that it was heard
        client.receive()
    client.close()
    broker.clock.advance(10)
    assert broker.clients == []


@pytest.mark.parametrize(("version", "code"), [(4, 3), (5, ReasonCode.SERVER_BUSY)])
def test_the_next_connects_are_refused(broker: BrokerThread, connect: MakeClient, version: int, code: int) -> None:
    broker.faults.refuse_connect(ReasonCode.SERVER_BUSY, times=2)
    assert [connect(version=version).connack.reason_code for _ in range(3)] == [code, code, 0]


def test_what_has_not_happened_can_be_cleared(broker: BrokerThread, connect: MakeClient) -> None:
    fault = broker.faults.drop("PUBACK")
    broker.faults.refuse_connect()
    broker.faults.clear()
    client = connect()
    publish(client, 1)
    assert acknowledged(client, 1) == [1]
    assert not fault.done
    assert repr(fault) == "<drop PUBACK, nth=1, happened 0 of 1 times>"


def test_what_can_never_happen_is_refused_at_once(broker: BrokerThread, connect: MakeClient) -> None:
    connect("alice")
    with pytest.raises(ValueError, match="'PUBACKS' is no kind of packet; there are CONNECT, CONNACK, PUBLISH"):
        broker.faults.drop("PUBACKS")
    with pytest.raises(ValueError, match="the next packet is nth=1"):
        broker.faults.duplicate("PUBACK", 0)
    with pytest.raises(ValueError, match="sender must be 'client' or 'broker', not 'server'"):
        broker.faults.drop("PUBACK", sender="server")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cannot arrive 3 s before it was sent"):
        broker.faults.delay("PUBACK", -3)
    with pytest.raises(LookupError, match="client 'bob' is not connected; alice is"):
        broker.faults.cut("bob")
    with pytest.raises(ValueError, match="a CONNACK cannot refuse with 0x00"):
        broker.faults.refuse_connect(0)
