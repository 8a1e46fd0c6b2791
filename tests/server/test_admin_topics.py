"""Does a feed count what is published, and does it cost the others nothing but what it may?"""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.administered import START, Setup, administered, run
from tests.server.test_admin import RULES
from tidewire.server import admin_topics
from tidewire.server.admin_messages import shown_properties
from tidewire.server.admin_topics import TopicFeed
from tidewire.server.admin_types import MessageProperties, TopicSeen, Viewer
from tidewire.wire.packets import Acknowledgement, Publish, Subscribe, SubscriptionRequest
from tidewire.wire.properties import CONTENT_TYPE, MESSAGE_EXPIRY_INTERVAL, Properties
from tidewire.wire.topics import matches

MESSAGES = st.lists(
    st.tuples(
        st.sampled_from(["a", "a/b", "b/é", "c" * 150, "$x/a"]),
        st.sampled_from([b"", b"1", b"22", bytes(300)]),
        st.integers(0, 2),
        st.booleans(),
    ),
    max_size=40,
)


def feed_of(setup: Setup, topic_filter: str = "#", viewer: Viewer | None = None, **bounds: Any) -> TopicFeed:
    """One that has all the time in the world, unless the test says otherwise."""
    return TopicFeed(setup.server, topic_filter.encode(), viewer, setup.clock.wall, **{"budget_s": math.inf, **bounds})


def by_topic(topics: list[TopicSeen]) -> dict[str, TopicSeen]:
    return {each.topic: each for each in topics}


@settings(max_examples=60, deadline=None)
@given(
    messages=MESSAGES,
    version=st.sampled_from([3, 4, 5]),
    topic_filter=st.sampled_from(["#", "a/#", "+/+", "$x/#"]),
    parts=st.integers(1, 4),
)
def test_the_counts_are_what_was_published(
    messages: list[tuple[str, bytes, int, bool]], version: int, topic_filter: str, parts: int
) -> None:
    async def check() -> None:
        async with administered() as setup:
            client = setup.client("lamp", version)
            with feed_of(setup, topic_filter) as feed:
                last: dict[str, TopicSeen] = {}
                counts: dict[str, tuple[int, int, bytes]] = {}
                for number, (topic, payload, qos, with_properties) in enumerate(messages):
                    properties = Properties()
                    if with_properties and version == 5:
                        properties.texts[CONTENT_TYPE] = "x" * number
                        properties.integers[MESSAGE_EXPIRY_INTERVAL] = 60
                    packet = Publish(
                        topic.encode(), payload, qos, packet_identifier=number + 1 if qos else 0, properties=properties
                    )
                    client.send(packet)
                    if matches(topic_filter.encode(), topic.encode()):
                        count, size, _ = counts.get(topic, (0, 0, b""))
                        counts[topic] = count + 1, size + len(payload), payload
                    if number % parts == 0:
                        last |= by_topic(feed.take().topics)
                taken = feed.take()
                last |= by_topic(taken.topics)
                assert {
                    topic: (each.messages, each.total_bytes, each.payload) for topic, each in last.items()
                } == counts
                assert (taken.messages, taken.unseen) == (sum(count for count, _, _ in counts.values()), 0)

    run(check())


def test_messages_that_come_as_a_run_are_counted_one_by_one() -> None:
    async def check() -> None:
        async with administered() as setup:
            client = setup.client("lamp")
            with feed_of(setup) as feed:
                client.send(*[Publish(b"a", b"%03d" % number) for number in range(500)], Publish(b"b", b"x"))
                topics = by_topic(feed.take().topics)
                assert (topics["a"].messages, topics["a"].payload, topics["a"].total_bytes) == (500, b"499", 1500)
                assert topics["b"].messages == 1

    run(check())


def test_a_feed_begins_with_what_is_retained() -> None:
    async def check() -> None:
        async with administered() as setup:
            setup.admin.publish("a", b"x", retain=True, properties=MessageProperties(content_type="text"))
            setup.admin.publish("b", b"y")
            setup.clock.now += 5
            with feed_of(setup) as feed:
                (first,) = feed.take().topics
                assert (first.topic, first.payload, first.retain, first.messages, first.at) == (
                    "a",
                    b"x",
                    True,
                    0,
                    START,
                )
                assert first.properties == MessageProperties(content_type="text")
                setup.admin.publish("a", b"z")
                (then,) = feed.take().topics
                assert (then.payload, then.retain, then.messages, then.at) == (b"z", False, 1, START + 5)
                assert feed.take().topics == []

    run(check())


def test_a_viewer_sees_what_the_rules_let_that_user_read() -> None:
    async def check() -> None:
        async with administered(access=RULES) as setup:
            setup.admin.publish("alice/old", b"x", retain=True)
            setup.admin.publish("open/old", b"x", retain=True)
            seen = {}
            for viewer in (None, Viewer("alice"), Viewer("bob"), Viewer(None)):
                with feed_of(setup, "#", viewer) as feed:
                    for topic in ("open/a", "alice/a", "secret"):
                        setup.admin.publish(topic, b"x")
                    seen[viewer.user_name if viewer else "operator"] = set(by_topic(feed.take().topics))
            open_only = {"open/old", "open/a"}
            alices = {"alice/old", "alice/a"}
            assert seen == {
                "operator": open_only | alices | {"secret"},
                "alice": open_only | alices,
                "bob": open_only,
                None: open_only,
            }

    run(check())


def test_rates_are_of_the_time_since_it_was_taken_last() -> None:
    async def check() -> None:
        async with administered() as setup:
            client = setup.client("lamp")
            with feed_of(setup) as feed:
                setup.clock.now += 2
                client.send(*[Publish(b"a", b"x")] * 10, *[Publish(b"b", b"x")] * 6)
                taken = feed.take()
                assert (taken.rate, {each.topic: each.rate for each in taken.topics}) == (8.0, {"a": 5.0, "b": 3.0})
                setup.clock.now += 1
                assert feed.take().rate == 0.0

    run(check())


def test_what_is_more_than_it_may_take_is_counted_and_not_seen() -> None:
    async def check() -> None:
        async with administered() as setup:
            client = setup.client("lamp")
            with feed_of(setup, turn_bytes=100_000) as feed:
                message = Publish(b"a", bytes(1000))
                for _ in range(10):
                    client.send(*[message] * 100)
                taken = feed.take()
                assert taken.messages == 1000
                assert taken.sampling
                assert taken.topics[0].messages == 1000 - taken.unseen < 1000
                assert taken.rate == taken.topics[0].rate  # which is estimated for all of them

    run(check())


def test_when_the_time_is_over_the_rest_is_estimated(monkeypatch: Any) -> None:
    monkeypatch.setattr(admin_topics, "TAKEN_AT_ONCE", 1000)

    async def check() -> None:
        async with administered() as setup:
            client = setup.client("lamp")
            with feed_of(setup, budget_s=0.0) as feed:
                client.send(*[Publish(b"t%03d" % (number % 500), b"x") for number in range(1000)])
                feed.look()
                taken = feed.take()
                assert taken.sampling
                seen = sum(each.messages for each in taken.topics)
                assert seen == taken.messages - taken.unseen < 1000
                assert 990 <= taken.messages <= 1010

    run(check())


def test_topics_past_the_bound_are_counted_only(monkeypatch: Any) -> None:
    monkeypatch.setattr(admin_topics, "TOPICS_KEPT", 3)

    async def check() -> None:
        async with administered() as setup:
            client = setup.client("lamp")
            with feed_of(setup) as feed:
                client.send(*[Publish(b"t%d" % number, b"x") for number in range(5)])
                taken = feed.take()
                assert (len(taken.topics), taken.messages, taken.unseen, taken.topics_full) == (3, 5, 2, True)

    run(check())


def test_topics_past_the_bound_of_their_names_are_counted_only(monkeypatch: Any) -> None:
    monkeypatch.setattr(admin_topics, "NAMES_BYTES", 10)

    async def check() -> None:
        async with administered() as setup:
            setup.admin.publish("old", b"x", retain=True)
            client = setup.client("lamp")
            with feed_of(setup) as feed:
                client.send(*[Publish(topic, b"x") for topic in (b"short", b"too/long", b"is", b"old")])
                taken = feed.take()
                assert list(by_topic(taken.topics)) == ["old", "short", "is"]
                assert (taken.messages, taken.unseen, taken.topics_full) == (4, 1, True)

    run(check())


def test_what_is_retained_comes_part_by_part_and_what_is_published_meanwhile_is_newer(monkeypatch: Any) -> None:
    monkeypatch.setattr(admin_topics, "LOOKED_AT", 3)

    async def check() -> None:
        async with administered(access=RULES) as setup:
            for number in range(5):
                setup.admin.publish(f"open/{number}", b"old", retain=True)
                setup.admin.publish(f"alice/{number}", b"old", retain=True)
            with feed_of(setup, "#", Viewer("bob")) as feed:
                first = by_topic(feed.take().topics)
                assert len(first) < 5
                setup.admin.publish("open/4", b"new", retain=True)
                setup.admin.publish("open/3", b"new")
                seen = by_topic(feed.take().topics)
                for _ in range(5):
                    feed.turn()
                    seen |= by_topic(feed.take().topics)
                values = {topic: (each.payload, each.messages) for topic, each in (first | seen).items()}
                old = {f"open/{number}": (b"old", 0) for number in range(3)}
                assert values == old | {"open/3": (b"new", 1), "open/4": (b"new", 1)}

    run(check())


def user_properties(*pairs: tuple[str, str]) -> Properties:
    properties = Properties()
    properties.texts[CONTENT_TYPE] = "text"
    properties.user_properties = list(pairs)
    return properties


@pytest.mark.parametrize(
    ("pairs", "shown"),
    [
        ([("a", "b")] * 50, 50),
        ([("a", "b")] * 10_000, 50),
        ([("a", "b" * 1_000)] * 60, 4),
        ([("a", "b" * 60_000), ("c", "d")], 0),
    ],
)
def test_so_many_user_properties_are_shown_and_it_is_said_how_much_more_there_is(
    monkeypatch: Any, pairs: list[tuple[str, str]], shown: int
) -> None:
    monkeypatch.setattr(admin_topics, "PAYLOADS_BYTES", 10_000)

    async def check() -> None:
        async with administered() as setup:
            client = setup.client("lamp")
            properties = user_properties(*pairs)
            size = len(properties.encode_body())
            shown_size = len(user_properties(*pairs[:shown]).encode_body())
            rest = [("…", f"and {size - shown_size} bytes more")] if size > shown_size else []
            with feed_of(setup) as feed:
                client.send(*[Publish(b"t%d" % number, b"x", properties=properties) for number in range(4)])
                topics = by_topic(feed.take().topics)
                told = MessageProperties(content_type="text", user_properties=[*pairs[:shown], *rest])
                assert topics["t0"].properties == shown_properties(properties.encode_body()) == told
                kept = sum(len(topic.properties) for topic in feed._topics.values())
                assert kept <= 10_000 + admin_topics.PROPERTIES_KEPT_BYTES + admin_topics.PAYLOAD_CUT_BYTES
                feed.turn()
                client.send(*[Publish(b"t%d" % number, b"x") for number in range(4)])
                assert all(not each.properties.user_properties for each in feed.take().topics)
                assert feed._payloads_bytes == 0

    run(check())


def test_more_topics_than_one_take_brings_come_with_the_next(monkeypatch: Any) -> None:
    monkeypatch.setattr(admin_topics, "TAKEN_AT_ONCE", 2)

    async def check() -> None:
        async with administered() as setup:
            client = setup.client("lamp")
            with feed_of(setup) as feed:
                client.send(*[Publish(b"t%d" % number, b"x") for number in range(5)])
                taken = [sorted(by_topic(feed.take().topics)) for _ in range(4)]
                assert taken == [["t0", "t1"], ["t2", "t3"], ["t4"], []]

    run(check())


def test_topics_that_somebody_looks_at_wait_for_no_others(monkeypatch: Any) -> None:
    monkeypatch.setattr(admin_topics, "TAKEN_AT_ONCE", 2)

    async def check() -> None:
        async with administered() as setup:
            client = setup.client("lamp")
            with feed_of(setup) as feed:
                client.send(*[Publish(b"t%d" % number, b"x") for number in range(5)])
                first = ("t4", "t4", "unknown", "t3", "t2")
                taken = [sorted(by_topic(feed.take(first).topics)) for _ in range(4)]
                assert taken == [["t3", "t4"], ["t0", "t2"], ["t1"], []]

    run(check())


def test_what_is_not_read_in_time_is_not_taken_the_next_time() -> None:
    async def check() -> None:
        async with administered() as setup:
            client = setup.client("lamp")
            with feed_of(setup, budget_s=0.0) as feed:
                for _ in range(3):
                    client.send(*[Publish(b"t%03d" % (number % 500), bytes(50)) for number in range(4000)])
                    feed.turn()
                assert feed._turn_bytes == admin_topics.TURN_BYTES_LEAST
                for _ in range(10):
                    client.send(Publish(b"t", b"x"))
                    feed.turn()
                assert feed._turn_bytes == admin_topics.TURN_BYTES

    run(check())


@pytest.mark.parametrize("topic", ["seen", "unseen"])
def test_who_only_looks_is_no_subscriber_as_far_as_publishers_are_told(topic: str) -> None:
    async def check() -> None:
        async with administered() as setup:
            client = setup.client("lamp")
            with feed_of(setup, "seen"):
                client.send(Publish(topic.encode(), b"x", 1, packet_identifier=1))
                assert setup.admin.publish(topic, b"x").reason_code == 16
                setup.client("reader").send(Subscribe(1, [SubscriptionRequest(topic.encode())]))
                client.send(Publish(topic.encode(), b"x", 1, packet_identifier=2))
                assert setup.admin.publish(topic, b"x").reason_code == 0
            answers = [each for each in client.received if isinstance(each, Acknowledgement)]
            assert [answer.reason_code for answer in answers] == [0x10, 0]

    run(check())


def test_payloads_are_cut_once_all_of_them_are_large(monkeypatch: Any) -> None:
    monkeypatch.setattr(admin_topics, "PAYLOADS_BYTES", 1000)

    async def check() -> None:
        async with administered() as setup:
            client = setup.client("lamp")
            with feed_of(setup) as feed:
                client.send(*[Publish(b"t%d" % number, bytes(600)) for number in range(3)])
                topics = feed.take().topics
                assert [len(each.payload) for each in topics] == [600, 600, admin_topics.PAYLOAD_CUT_BYTES]
                assert {each.payload_bytes for each in topics} == {600}

    run(check())


def test_who_looks_is_no_subscriber_and_leaves_nothing_behind() -> None:
    async def check() -> None:
        async with administered() as setup:
            client = setup.client("lamp")
            broker = setup.server.broker
            with feed_of(setup, "a/#") as feed:
                client.send(*[Publish(b"a/b", b"x")] * 100)
                client.send(Publish(b"a/b", b"x", 1, packet_identifier=1))
                feed.look()
                overview = setup.admin.overview()
                assert (overview.totals.messages_in, overview.totals.messages_out) == (101, 0)
                assert (overview.sessions, overview.subscriptions) == (1, 0)
                assert overview.totals.bytes_out == sum(len(each.encode(5)) for each in client.received)
            assert broker.tree.levels == 0
            assert broker.route(b"a/b").is_empty()
            feed.close()  # once more does nothing

    run(check())


def test_the_turn_lets_it_hear_again() -> None:
    async def check() -> None:
        async with administered() as setup:
            client = setup.client("lamp")
            with feed_of(setup, turn_bytes=1) as feed:
                client.send(*[Publish(b"a", bytes(1000))] * 1000)
                client.send(Publish(b"late", b"x"))
                assert "late" not in by_topic(feed.take().topics)
                feed.turn()
                client.send(Publish(b"late", b"x"))
                assert by_topic(feed.take().topics)["late"].messages == 1

    run(check())


def test_reading_is_over_when_its_time_is(monkeypatch: Any) -> None:
    monkeypatch.setattr(admin_topics, "TAKEN_AT_ONCE", 1000)

    async def check() -> None:
        async with administered() as setup:
            client = setup.client("lamp")
            with feed_of(setup, budget_s=0.0) as feed:
                client.send(*[Publish(b"t%04d" % number, b"x") for number in range(5000)])
                feed.look()
                seen = sum(each.messages for each in feed.take().topics)
                assert seen == admin_topics.READ_AT_LEAST

    run(check())
