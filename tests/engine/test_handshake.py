"""Does enhanced authentication (4.12) let in who ends it well, and end the connection of everybody else?"""

from __future__ import annotations

import pytest

from tests.engine.harness import Peer, World
from tidewire.engine.connection import Connection
from tidewire.engine.ports import Access, Exchange, Principal
from tidewire.wire import properties as p
from tidewire.wire.packets import Auth, Connack, Connect, Disconnect, Packet, Pingreq, Pingresp, Publish
from tidewire.wire.properties import Properties

CONTINUE = 0x18
ANEW = 0x19


class Counting(Exchange):
    """Wants to hear "1", "2" and "3"; says what it has heard."""

    def __init__(self, user_name: str) -> None:
        super().__init__()
        self.user_name = user_name
        self.heard = 0

    def step(self, data: bytes) -> tuple[int, bytes, Principal | None]:
        self.heard += 1
        if data != str(self.heard).encode():
            return 0x87, b"", None
        if self.heard < 3:
            return CONTINUE, b"heard " + data, None
        return 0, b"welcome", Principal(self.user_name, "")


class CountingAccess(Access):
    """Knows the method "count"."""

    def __init__(self) -> None:
        super().__init__()
        self.user_name = "alice"
        self.known = True

    def exchange(self, method: str, connection: Connection) -> Exchange | None:
        return Counting(self.user_name) if method == "count" and self.known else None


def properties(data: bytes | None = None, method: str | None = "count") -> Properties:
    made = Properties()
    if method is not None:
        made.texts[p.AUTHENTICATION_METHOD] = method
    if data is not None:
        made.binaries[p.AUTHENTICATION_DATA] = data
    return made


def auth(data: bytes, code: int = CONTINUE, method: str | None = "count") -> Auth:
    return Auth(code, properties(data, method))


def said(packet: Packet) -> tuple[str, int, bytes | None]:
    """Kind, reason code and Authentication Data of a packet that names the method."""
    assert isinstance(packet, Auth | Connack)
    assert packet.properties.texts.get(p.AUTHENTICATION_METHOD) == "count"
    return type(packet).__name__, packet.reason_code, packet.properties.binaries.get(p.AUTHENTICATION_DATA)


@pytest.fixture
def access() -> CountingAccess:
    return CountingAccess()


def begin(access: CountingAccess, first: bytes = b"1") -> Peer:
    peer = World(access).open(5)
    peer.send(Connect("client", 5, properties=properties(first)))
    return peer


def connected(access: CountingAccess) -> Peer:
    peer = begin(access)
    peer.send(auth(b"2"))
    peer.send(auth(b"3"))
    peer.take()
    assert peer.connection.session is not None
    return peer


def test_it_goes_step_by_step_and_ends_with_the_connack(access: CountingAccess) -> None:
    peer = begin(access)
    assert [said(packet) for packet in peer.take()] == [("Auth", CONTINUE, b"heard 1")]
    assert not peer.world.broker.sessions
    peer.send(auth(b"2"))
    assert [said(packet) for packet in peer.take()] == [("Auth", CONTINUE, b"heard 2")]
    peer.send(auth(b"3"))
    assert [said(packet) for packet in peer.take()] == [("Connack", 0, b"welcome")]
    assert peer.world.broker.sessions["client"].principal.user_name == "alice"


def test_it_may_come_in_one_piece_or_byte_by_byte_with_packets_behind_it(access: CountingAccess) -> None:
    packets = [Connect("client", 5, properties=properties(b"1")), auth(b"2"), auth(b"3"), Pingreq()]
    stream = b"".join(packet.encode(5) for packet in packets)
    for pieces in ([stream], [stream[index : index + 1] for index in range(len(stream))]):
        peer = World(access).open(5)
        for piece in pieces:
            peer.send_bytes(piece)
        assert [type(packet) for packet in peer.take()] == [Auth, Auth, Connack, Pingresp]


@pytest.mark.parametrize("wrong_at", [1, 2, 3])
def test_wrong_data_at_any_step_are_a_refusal(access: CountingAccess, wrong_at: int) -> None:
    peer = begin(access, b"no" if wrong_at == 1 else b"1")
    for step in (2, 3):
        if not peer.is_closed:
            peer.send(auth(b"no" if wrong_at == step else str(step).encode()))
    last = peer.take()[-1]
    assert isinstance(last, Connack) and last.reason_code == 0x87
    assert peer.is_closed
    assert not peer.world.broker.sessions


def test_a_method_that_is_not_known_is_refused(access: CountingAccess) -> None:
    peer = World(access).open(5)
    peer.send(Connect("client", 5, properties=properties(b"1", "other")))
    (connack,) = peer.take()
    assert isinstance(connack, Connack) and connack.reason_code == 0x8C
    assert peer.is_closed


@pytest.mark.parametrize(
    "packet",
    [
        Publish(b"t", b"x"),
        Pingreq(),
        Connect("client", 5),
        auth(b"2", method="other"),
        auth(b"2", method=None),
        auth(b"1", ANEW),
        Auth(0, properties(b"2")),
    ],
)
def test_nothing_but_its_next_step_may_come_meanwhile(access: CountingAccess, packet: Packet) -> None:
    peer = begin(access)
    peer.take()
    peer.send(packet)
    (connack,) = peer.take()
    assert isinstance(connack, Connack) and connack.reason_code == 0x82
    assert peer.is_closed


def test_the_client_may_leave_meanwhile(access: CountingAccess) -> None:
    peer = begin(access)
    peer.take()
    peer.send(Disconnect())
    assert peer.is_closed
    assert peer.take() == []


def test_a_client_that_does_not_go_on_is_cut_off_in_time(access: CountingAccess) -> None:
    peer = begin(access)
    peer.world.advance(11)
    assert peer.is_closed
    assert peer.world.events.of("refused")[0][1] == "authentication has not ended in time"


def test_a_client_authenticates_anew_while_it_goes_on_with_everything_else(access: CountingAccess) -> None:
    peer = connected(access)
    peer.send(auth(b"1", ANEW), Pingreq())
    first, pong = peer.take()
    assert said(first) == ("Auth", CONTINUE, b"heard 1")
    assert pong == Pingresp()
    peer.send(auth(b"2"), auth(b"3"))
    assert [said(packet) for packet in peer.take()] == [("Auth", CONTINUE, b"heard 2"), ("Auth", 0, b"welcome")]
    peer.publish("t", qos=1)
    assert not peer.is_closed


def end_of(peer: Peer) -> int:
    last = peer.take()[-1]
    assert isinstance(last, Disconnect)
    assert peer.is_closed
    return last.reason_code


def test_who_fails_to_authenticate_anew_is_cut_off(access: CountingAccess) -> None:
    peer = connected(access)
    peer.send(auth(b"1", ANEW), auth(b"no"))
    assert end_of(peer) == 0x87


def test_nobody_becomes_another_by_authenticating_anew(access: CountingAccess) -> None:
    peer = connected(access)
    access.user_name = "bob"
    peer.send(auth(b"1", ANEW), auth(b"2"), auth(b"3"))
    assert end_of(peer) == 0x87


def test_a_method_that_is_no_longer_known_ends_the_connection(access: CountingAccess) -> None:
    peer = connected(access)
    access.known = False
    peer.send(auth(b"1", ANEW))
    assert end_of(peer) == 0x87


@pytest.mark.parametrize(
    "packets",
    [[auth(b"2")], [auth(b"1", ANEW), auth(b"1", ANEW)], [auth(b"1", ANEW, "other")], [Auth(0, properties(b"1"))]],
)
def test_an_auth_out_of_turn_is_a_protocol_error(access: CountingAccess, packets: list[Packet]) -> None:
    peer = connected(access)
    peer.send(*packets)
    assert end_of(peer) == 0x82
