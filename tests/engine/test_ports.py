"""Does a client wait, and lose nothing, while somebody outside finds out whether it may do what it asks for?"""

from __future__ import annotations

import pytest

from tests.engine.harness import Peer, World, integers
from tidewire.engine.connection import Connection
from tidewire.engine.ports import Access, Principal, Undecided
from tidewire.wire.packets import (
    Acknowledgement,
    Pingreq,
    Pingresp,
    Publish,
    Suback,
    Subscribe,
    SubscriptionRequest,
    Will,
)


class Slow(Access):
    """Knows nothing until it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.unrestricted = False
        self.fetches = True
        self.answers: dict[tuple[str, bytes], bool] = {}
        self.asked: list[tuple[str, bytes]] = []
        self.waiting: list[Connection] = []

    def may_publish(self, principal: Principal, topic: bytes) -> bool:
        return self._known(principal, "publish", topic)

    def may_subscribe(self, principal: Principal, topic_filter: bytes) -> bool:
        return self._known(principal, "subscribe", topic_filter)

    def decide(self, undecided: Undecided, connection: Connection) -> None:
        self.asked.append((undecided.action, undecided.topic))
        self.waiting.append(connection)

    def answer(self, world: World, allowed: bool = True) -> None:
        """Answer the last question."""
        self.answers[self.asked[-1]] = allowed
        self.waiting.pop().decided(world.now)
        world.flush()

    def _known(self, principal: Principal, action: str, topic: bytes) -> bool:
        answer = self.answers.get((action, topic))
        if answer is None:
            raise Undecided(principal, action, topic)
        return answer


@pytest.fixture
def access() -> Slow:
    return Slow()


@pytest.fixture
def world(access: Slow) -> World:
    return World(access)


def subscriber(world: World, access: Slow) -> Peer:
    access.answers["subscribe", b"#"] = True
    peer = world.connect("subscriber", 5)
    peer.subscribe("#")
    return peer


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("allowed", [True, False])
def test_a_publish_waits_for_its_answer_and_is_handled_once(
    world: World, access: Slow, qos: int, allowed: bool
) -> None:
    reader = subscriber(world, access)
    peer = world.connect("publisher", 5)
    peer.publish("t", b"1", qos)
    assert not peer.transport.reading
    assert peer.take() == [] == reader.messages()
    access.answer(world, allowed)
    assert peer.transport.reading
    assert access.asked == [("publish", b"t")]
    answers = [packet.reason_code for packet in peer.take() if isinstance(packet, Acknowledgement)]
    assert answers == ([0 if allowed else 0x87] if qos else [])
    assert [message.payload for message in reader.messages()] == ([b"1"] if allowed else [])
    assert world.broker.statistics.publish_received == 1
    if qos == 2 and allowed:
        peer.acknowledge(6, 1)
        assert isinstance(peer.take()[0], Acknowledgement)


def test_what_comes_behind_waits_too_and_keeps_its_order(world: World, access: Slow) -> None:
    reader = subscriber(world, access)
    peer = world.connect("publisher", 5)
    peer.send(Publish(b"a", b"1"), Publish(b"a", b"2"), Publish(b"b", b"3"), Pingreq(), Publish(b"a", b"4"))
    peer.send(Publish(b"a", b"5"))  # one more read may come after reading was paused
    assert peer.take() == []
    access.answer(world)
    assert access.asked[-1] == ("publish", b"b")
    assert [message.payload for message in reader.messages()] == [b"1", b"2"]
    access.answer(world)
    assert [message.payload for message in reader.messages()] == [b"3", b"4", b"5"]
    assert Pingresp() in peer.take()
    assert len(access.asked) == 2
    assert world.broker.statistics.messages_received == 2 + 1 + 6  # CONNECTs, SUBSCRIBE, and what was sent


def test_a_stream_that_is_cut_anywhere_gives_the_same(world: World, access: Slow) -> None:
    reader = subscriber(world, access)
    access.answers["publish", b"known"] = True
    stream = b"".join(
        packet.encode(5)
        for packet in (
            Publish(b"known", b"1"),
            Publish(b"asked", b"2"),
            Publish(b"known", b"3" * 200),
            Publish(b"asked"),
        )
    )
    for cut in range(len(stream)):
        access.answers.pop(("publish", b"asked"), None)
        world.broker.access_changed()
        access.epoch += 1
        peer = world.connect("publisher", 5)
        peer.send_bytes(stream[:cut])
        peer.send_bytes(stream[cut:])
        access.answer(world)
        assert [message.payload for message in reader.messages()] == [b"1", b"2", b"3" * 200, b""], cut


def test_a_subscribe_waits_until_all_its_filters_are_decided(world: World, access: Slow) -> None:
    peer = world.connect("peer", 5)
    peer.send(Subscribe(7, [SubscriptionRequest(b"a"), SubscriptionRequest(b"$share/g/b"), SubscriptionRequest(b"a")]))
    access.answer(world, True)
    assert access.asked == [("subscribe", b"a"), ("subscribe", b"b")]
    assert peer.take() == []
    assert world.broker.statistics.subscriptions == 0
    access.answer(world, False)
    assert peer.take() == [Suback(7, [0, 0x87, 0])]


def test_an_aliased_topic_is_asked_about_by_its_name(world: World, access: Slow) -> None:
    peer = world.connect("publisher", 5)
    access.answers["publish", b"t"] = True
    peer.send(Publish(b"t", b"1", properties=integers(topic_alias=1)))
    access.answers.clear()
    access.epoch += 1
    world.broker.publish_permissions_changed()
    peer.send(Publish(b"", b"2", properties=integers(topic_alias=1)))
    assert access.asked == [("publish", b"t")]
    access.answer(world)
    assert world.broker.statistics.publish_received == 2


def test_nobody_is_cut_off_for_silence_while_the_answer_is_awaited(world: World, access: Slow) -> None:
    peer = world.connect("publisher", 5, keep_alive=10)
    peer.publish("t", qos=1)
    world.advance(60)
    assert not peer.is_closed
    access.answer(world)
    assert len(peer.take()) == 1
    world.advance(14)
    assert not peer.is_closed
    world.advance(2)
    assert peer.is_closed


def test_an_answer_for_a_client_that_has_left_is_for_nobody(world: World, access: Slow) -> None:
    peer = world.connect("publisher", 5)
    peer.publish("t", qos=1)
    peer.lose()
    access.answer(world)
    assert world.broker.statistics.publish_received == 0


def test_a_connection_can_be_closed_while_it_waits(world: World, access: Slow) -> None:
    peer = world.connect("publisher", 5)
    peer.publish("t", qos=1)
    world.broker.shut_down(world.now)
    assert peer.take()[-1].reason_code == 0x8B  # type: ignore[attr-defined]
    access.answer(world)
    assert peer.is_closed


def test_a_reader_that_takes_bytes_again_does_not_end_the_wait(world: World, access: Slow) -> None:
    world.limits.unread_answer_bytes = 0
    peer = world.connect("publisher", 5)
    peer.block()
    peer.send(Pingreq(), Publish(b"t", b"1"))
    peer.unblock()
    assert not peer.transport.reading
    access.answer(world)
    assert peer.transport.reading


def test_a_will_that_nobody_has_decided_about_is_not_published(world: World, access: Slow) -> None:
    reader = subscriber(world, access)
    world.connect("doomed", 5, will=Will(b"t", b"gone")).lose()
    assert reader.messages() == []
    assert world.events.of("denied") == [("doomed", "publish", b"t")]
