"""Do the numbers in `$SYS` say what happened?"""

from __future__ import annotations

import pytest

from tests.engine.harness import World
from tidewire.engine.statistics import LoadAverage, Statistics
from tidewire.wire.packets import Pingreq, Subscribe, SubscriptionRequest, Unsubscribe


def sys_topics(world: World) -> dict[str, str]:
    world.broker.publish_sys(world.now)
    found = world.broker.retained.match(b"$SYS/#")
    return {message.topic.decode().removeprefix("$SYS/broker/"): message.payload.decode() for message in found}


@pytest.mark.parametrize(("minutes", "index"), [(1, 0), (5, 1), (15, 2)])
def test_a_steady_rate_becomes_its_load_average(minutes: int, index: int) -> None:
    load = LoadAverage("publish/sent")
    total = 0
    for _ in range(minutes * 60):
        total += 100
        load.update(total, 10.0)
    values: dict[str, str] = {}
    load.add_topics(values)
    assert float(values[f"load/publish/sent/{minutes}min"]) == pytest.approx(600.0, rel=0.01)
    assert len(values) == 3
    assert list(values)[index].endswith(f"/{minutes}min")


def test_after_a_stop_the_average_falls_to_1_e_in_its_time() -> None:
    load = LoadAverage("bytes/sent")
    load.update(1_000_000, 1e9)
    before: dict[str, str] = {}
    load.update(2_000_000, 60.0)
    load.add_topics(before)
    load.update(2_000_000, 60.0)
    after: dict[str, str] = {}
    load.add_topics(after)
    key = "load/bytes/sent/1min"
    assert float(after[key]) == pytest.approx(float(before[key]) / 2.718281828, rel=0.001)


def test_loads_wait_for_time_to_pass() -> None:
    statistics = Statistics(5.0)
    statistics.bytes_sent += 1000
    statistics.update_loads(5.0)
    assert statistics.topics(5.0, "v", 0, 0, 0, 0, 0)["load/bytes/sent/1min"] == "0.00"
    statistics.update_loads(65.0)
    assert statistics.topics(65.0, "v", 0, 0, 0, 0, 0)["load/bytes/sent/1min"] != "0.00"
    assert statistics.topics(65.0, "v", 0, 0, 0, 0, 0)["uptime"] == "60 seconds"


def test_sys_counts_clients_subscriptions_and_what_is_stored() -> None:
    world = World()
    alice = world.connect("alice", clean_start=False)
    alice.subscribe("a", "$share/g/a", qos=1)
    bob = world.connect("bob")
    alice.disconnect()
    bob.publish("a", b"12345", qos=1)
    bob.publish("kept", b"123", retain=True)
    topics = sys_topics(world)
    assert topics["version"] == "test"
    assert topics["clients/total"] == "2"
    assert topics["clients/connected"] == topics["clients/active"] == "1"
    assert topics["clients/disconnected"] == topics["clients/inactive"] == "1"
    assert topics["clients/maximum"] == "2"
    assert topics["subscriptions/count"] == "2"
    assert topics["shared_subscriptions/count"] == "1"
    assert topics["retained messages/count"] == "1"
    assert topics["store/messages/count"] == topics["messages/stored"] == "3"
    assert topics["store/messages/bytes"] == str(2 * 6 + 7)
    assert topics["dropped/queue full"] == "0"


def test_ended_subscriptions_are_not_counted_any_more() -> None:
    world = World()
    alice = world.connect("alice")
    alice.subscribe("a", "b", "$share/g/a")
    alice.send(Unsubscribe(2, [b"a", b"$share/g/a"]))
    assert world.broker.statistics.subscriptions == 1
    assert world.broker.statistics.shared_subscriptions == 0
    alice.lose()
    assert world.broker.statistics.subscriptions == 0


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_publishes_and_their_bytes_are_counted_both_ways(version: int, qos: int) -> None:
    world = World()
    alice = world.connect("alice", version)
    bob = world.connect("bob", 9 - version)
    bob.subscribe("a", qos=qos)
    for identifier in range(1, 4):
        alice.publish("a", b"12345", qos=qos, packet_identifier=identifier)
    statistics = world.broker.statistics
    assert (statistics.publish_received, statistics.publish_bytes_received) == (3, 15)
    assert (statistics.publish_sent, statistics.publish_bytes_sent) == (3, 15)


def test_bytes_and_packets_are_counted_as_they_travel() -> None:
    world = World()
    alice = world.connect("alice")
    statistics = world.broker.statistics
    received = statistics.bytes_received
    sent = statistics.bytes_sent
    assert statistics.messages_received == 1
    assert sent == 4
    alice.take()
    alice.send(Pingreq(), Subscribe(1, [SubscriptionRequest(b"a")]), Pingreq())
    assert statistics.messages_received == 4
    assert statistics.bytes_received - received == 2 + 8 + 2
    assert statistics.bytes_sent - sent == len(alice.take_bytes())
    assert statistics.control_sent == 4
    alice.publish("a")
    alice.send_bytes(b"\x30\x04\0\1ax" * 5)
    assert statistics.messages_received == 10
