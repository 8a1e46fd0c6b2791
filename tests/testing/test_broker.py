"""Does the broker of a test show what happened, and wait for it without a sleep?"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from typing import Any

import pytest

from tests.process import BareClient
from tests.testing.conftest import MakeClient
from tidewire.server.config import ConfigError
from tidewire.server.hooks import PublishRequest
from tidewire.testing import BrokerThread
from tidewire.wire.codes import ReasonCode
from tidewire.wire.errors import InvalidTopic
from tidewire.wire.packets import Connect, Publish
from tidewire.wire.properties import Properties


def test_what_clients_publish_is_a_list_to_assert_on(broker: BrokerThread, connect: MakeClient) -> None:
    alice, bob = connect("alice"), connect("bob", 4)
    alice.send(Publish(b"a", b"1", 1, True, packet_identifier=1))
    alice.receive()
    bob.send(Publish(b"b", b"2"))
    broker.wait_for("b")
    assert [
        (each.client.client_identifier, each.client.version, each.topic, each.payload, each.qos, each.retain)
        for each in broker.received
    ] == [("alice", "5.0", "a", b"1", 1, True), ("bob", "3.1.1", "b", b"2", 0, False)]


def test_wait_for_returns_the_first_messages_that_the_filter_matches(broker: BrokerThread, connect: MakeClient) -> None:
    client = connect()

    def publish() -> None:
        for topic in (b"a/1", b"b/1", b"a/2", b"a/3"):
            client.send(Publish(topic))

    thread = threading.Thread(target=publish)
    thread.start()
    assert [message.topic for message in broker.wait_for("a/+", 2)] == ["a/1", "a/2"]
    thread.join()


def test_wait_for_says_what_did_arrive_when_it_gives_up(broker: BrokerThread, connect: MakeClient) -> None:
    with pytest.raises(TimeoutError, match=r"^0 of 1 messages for '#' in 0 s; what arrived: nothing$"):
        broker.wait_for(timeout_s=0)
    connect().send(Publish(b"a/1", b"x"))
    broker.wait_for("a/1")
    with pytest.raises(TimeoutError, match=r"^1 of 2 messages for 'a/\+' in 0 s; what arrived:\n  a/1 b'x'$"):
        broker.wait_for("a/+", 2, timeout_s=0)
    with pytest.raises(InvalidTopic):
        broker.wait_for("a/#/b")


def test_wait_until_sees_clients_come_subscribe_and_go(broker: BrokerThread) -> None:
    def visit() -> None:
        with BareClient(("127.0.0.1", broker.port), 5).connect("alice") as client:
            client.subscribe("a/#")
            assert go.wait(30)

    go = threading.Event()
    thread = threading.Thread(target=visit)
    thread.start()
    broker.wait_until(lambda: broker.subscriptions("alice") == ["a/#"])
    assert broker.clients == ["alice"]
    go.set()
    broker.wait_until(lambda: broker.clients == [])
    assert broker.subscriptions("alice") == []
    thread.join()


def test_wait_until_sees_a_fault_happen(broker: BrokerThread, connect: MakeClient) -> None:
    fault = broker.faults.drop("PINGREQ", times=3)
    client = connect()
    thread = threading.Thread(target=client.send_bytes, args=(b"\xc0\0" * 3,))
    thread.start()
    broker.wait_until(lambda: fault.done)
    thread.join()


def test_it_gives_up_when_nothing_comes_true(broker: BrokerThread) -> None:
    with pytest.raises(TimeoutError, match=r"it did not come true in 0\.01 s"):
        broker.wait_until(lambda: False, timeout_s=0.01)


def test_waiting_would_stop_an_event_loop_and_says_how_to_do_it_there(broker: BrokerThread) -> None:
    async def test() -> None:
        with pytest.raises(RuntimeError, match=r"await asyncio\.to_thread\(broker\.wait_for"):
            broker.wait_for()
        _, writer = await asyncio.open_connection("127.0.0.1", broker.port)
        writer.write(Connect("alice").encode(4) + Publish(b"a", b"x").encode(4))
        [message] = await asyncio.to_thread(broker.wait_for, "a")
        assert message.payload == b"x"
        broker.clock.advance(1)
        writer.close()
        await writer.wait_closed()

    asyncio.run(test())


def test_the_broker_itself_publishes(broker: BrokerThread, connect: MakeClient) -> None:
    client = connect()
    client.subscribe("a", 1)
    broker.publish("a", b"x", qos=1)
    assert client.receive() == Publish(b"a", b"x", 1, packet_identifier=1)
    assert broker.received == []
    with pytest.raises(InvalidTopic):
        broker.publish("a/#")


@pytest.mark.parametrize("hook", ["on_connect", "on_publish", "on_subscribe", "on_disconnect", "on_drop"])
def test_hooks_of_the_test_are_called_beside_its_own(broker_factory: Any, hook: str) -> None:
    seen: list[object] = []
    broker = broker_factory(limits={"queue_messages": 1}, **{hook: seen.append})
    with BareClient(("127.0.0.1", broker.port), 4).connect("alice", clean_start=False) as client:
        client.subscribe("a", 1)
    broker.wait_until(lambda: broker.clients == [])
    with BareClient(("127.0.0.1", broker.port), 4).connect("bob") as client:
        client.send(*[Publish(b"a", b"", 1, packet_identifier=each) for each in (1, 2)])
        client.receive()
        client.receive()
    assert len(broker.wait_for("a", 2)) == 2
    broker.wait_until(lambda: seen != [])


def test_what_a_hook_of_the_test_says_counts(broker_factory: Any) -> None:
    def shout(request: PublishRequest) -> PublishRequest:
        request.properties.user_properties.append(("loud", "yes"))
        return dataclasses.replace(request, payload=request.payload.upper())

    broker = broker_factory(on_publish=shout, on_subscribe=lambda request: 0)
    with BareClient(("127.0.0.1", broker.port), 5).connect("alice") as client:
        client.subscribe("a", 2)
        client.send(Publish(b"a", b"quiet", 1, packet_identifier=1))
        message = client.receive()
        assert isinstance(message, Publish)
        assert (message.payload, message.qos) == (b"QUIET", 0)
        assert message.properties.user_properties == [("loud", "yes")]
        assert (broker.received[0].payload, broker.received[0].properties) == (b"quiet", Properties())


def test_a_hook_that_asks_the_broker_for_something_is_told_that_it_cannot(
    broker_factory: Any, caplog: pytest.LogCaptureFixture
) -> None:
    broker: BrokerThread = broker_factory(on_connect=lambda request: print(broker.clients))
    with BareClient(("127.0.0.1", broker.port), 5).connect("alice") as client:
        assert client.connack.reason_code == ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR
    assert "which cannot wait for itself" in caplog.text


def test_it_works_without_pytest_and_leaves_no_thread() -> None:
    before = threading.active_count()
    with BrokerThread() as broker, BareClient(("127.0.0.1", broker.port), 5) as client:
        assert client.connect().connack.reason_code == 0
        broker.stop()
        broker.stop()
    assert threading.active_count() == before


def test_one_that_cannot_start_leaves_no_thread_either() -> None:
    before = threading.active_count()
    with pytest.raises(ConfigError, match="is not an address of this machine"):
        BrokerThread(bind="192.0.2.1", access={"anonymous": True})
    with pytest.raises(ConfigError):
        BrokerThread(limits={"no_such_limit": 1})
    assert threading.active_count() == before
