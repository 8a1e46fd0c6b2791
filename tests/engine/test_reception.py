"""Do messages find the inboxes that want them, each once?"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.client_harness import Client, Reader, Wire, message_packet
from tests.engine.harness import World
from tidewire.engine.limits import REMEMBERED_TOPICS
from tidewire.engine.received import DROP_NEWEST
from tidewire.engine.reception import ONE_BYTE_IDENTIFIERS, Interest, Reception, inboxes_of
from tidewire.wire.codes import PUBACK
from tidewire.wire.packets import Acknowledgement, SubscriptionRequest
from tidewire.wire.topics import matches, split_share

FILTERS = ["a", "a/b", "a/+", "a/#", "+/b", "#", "+", "$share/g/a/b", "c"]
TOPICS = ["a", "a/b", "a/b/c", "b", "c"]


def request(topic_filter: str, qos: int = 0, **options: bool) -> SubscriptionRequest:
    return SubscriptionRequest(topic_filter.encode(), qos, **options)


wanted = st.lists(st.lists(st.sampled_from(FILTERS), min_size=1, max_size=4), min_size=1, max_size=4)


@given(wanted, st.lists(st.tuples(st.sampled_from(TOPICS), st.integers(0, 2), st.booleans()), max_size=10))
@settings(deadline=None)
def test_each_inbox_gets_its_copy_once_however_its_filters_overlap(
    filters: list[list[str]], sent: list[tuple[str, int, bool]]
) -> None:
    """With the server's Subscription Identifiers and without them, the same filter twice included."""
    client = Client()
    client.connect()
    readers = [client.reader(*topic_filters) for topic_filters in filters]
    interests = client.session.reception.interests.values()
    for number, (topic, qos, with_identifiers) in enumerate(sent):
        found = [interest.identifier for interest in interests if matches(interest.matched, topic.encode())]
        identifiers = tuple(found) if with_identifiers else ()
        client.send(message_packet(topic, str(number), qos, number + 1 if qos else 0, identifiers))
    for reader, topic_filters in zip(readers, filters, strict=True):
        plain = [split_share(topic_filter.encode())[1] for topic_filter in topic_filters]
        assert [message.text() for message in reader.read()] == [
            str(number)
            for number, (topic, _, _) in enumerate(sent)
            if any(matches(topic_filter, topic.encode()) for topic_filter in plain)
        ]


@given(wanted)
@settings(deadline=None)
def test_a_filter_is_subscribed_to_once_and_left_with_its_last_inbox(filters: list[list[str]]) -> None:
    reception = Client().session.reception
    readers = [Reader() for _ in filters]
    for reader, topic_filters in zip(readers, filters, strict=True):
        for topic_filter in topic_filters:
            reception.attach(reception.interest(request(topic_filter)), reader)
    users = Counter(topic_filter for topic_filters in filters for topic_filter in set(topic_filters))
    assert {name.decode() for name in reception.interests} == set(users)
    identifiers = {interest.identifier for interest in reception.interests.values()}
    assert len(identifiers) == len(users)
    for reader, topic_filters in zip(readers, filters, strict=True):
        for topic_filter in set(topic_filters):
            interest = reception.interests[topic_filter.encode()]
            users[topic_filter] -= 1
            reception.detach(interest, reader)
            assert len(interest.inboxes) == users[topic_filter]
            if users[topic_filter] == 0:
                interest.leaving = True
                reception.forget(interest)
                reception.forget(interest)
    assert reception.interests == {}


def test_a_broker_says_for_which_filters_a_message_comes_and_each_reader_gets_it_once() -> None:
    for version in (4, 5):
        world = World()
        wire = Wire(world, Client(version))
        wire.connect()
        wire.carry_all()
        readers = [Reader(), Reader(), Reader()]
        wire.subscribe(readers[0], "a/#")
        wire.subscribe(readers[0], "a/+")
        wire.subscribe(readers[1], "a/b")
        wire.subscribe(readers[2], "c")
        wire.carry_all()
        publisher = world.connect("publisher")
        publisher.publish("a/b", b"1", 1)
        publisher.publish("c", b"2")
        wire.carry_all()
        assert [reader.texts() for reader in readers] == [["1"], ["1"], ["2"]]
        wire.carry_all()
        wire.client.assert_nothing_is_left()
        assert world.broker.sessions["client"].waiting_messages() == 0


def test_a_filter_that_several_want_has_the_highest_qos_and_the_last_options() -> None:
    reception = Reception()
    first = reception.interest(request("a", 1))
    reception.attach(first, Reader())
    again = reception.interest(request("a", 0, no_local=True))
    assert again is first
    assert first.request == request("a", 1, no_local=True)
    assert reception.interest(request("a", 2)).request == request("a", 2)


def test_a_filter_that_nobody_wants_any_more_starts_with_the_options_of_the_next() -> None:
    reception = Reception()
    reader = Reader()
    interest = reception.interest(request("a", 2))
    reception.attach(interest, reader)
    reception.detach(interest, reader)
    interest.leaving = True
    assert reception.interest(request("a", 0)) is interest
    assert interest.request == request("a", 0)
    assert not interest.leaving


def test_leaving_twice_is_leaving_once() -> None:
    reception = Reception()
    interest = reception.interest(request("a"))
    readers = [Reader(), Reader()]
    for reader in readers:
        reception.attach(interest, reader)
    for _ in range(2):
        reception.detach(interest, readers[1])
        assert (interest.newest, interest.inboxes) == ([], readers[:1])
    reception.attach(interest, readers[0])
    reception.detach(interest, readers[0])
    assert interest.inboxes == []


# -- Subscription Identifiers


def test_identifiers_take_one_byte_and_are_the_same_in_the_next_life() -> None:
    lives = [[Reception().interest(request(topic_filter)).identifier for topic_filter in FILTERS] for _ in range(2)]
    assert lives[0] == lives[1]
    assert all(1 <= identifier <= ONE_BYTE_IDENTIFIERS for identifier in lives[0])


def test_identifiers_are_never_shared_and_stay_short_as_long_as_they_can() -> None:
    reception = Reception()
    identifiers = [reception.interest(request(f"t/{number}")).identifier for number in range(1000)]
    assert len(set(identifiers)) == 1000
    assert max(identifiers) < 2000
    kept = reception.interests[b"t/500"]
    for interest in list(reception.interests.values()):
        if interest is not kept:
            reception.forget(interest)
    assert reception.route(b"t/500", [kept.identifier]) == [kept]


def test_an_identifier_of_an_earlier_life_does_not_lead_astray() -> None:
    reception = Reception()
    a, b = (reception.interest(request(topic_filter)) for topic_filter in ("a", "b"))
    unknown = next(number for number in range(1, 10) if number not in (a.identifier, b.identifier))
    assert reception.route(b"a", [b.identifier]) == [a]
    assert reception.route(b"a", [unknown, a.identifier]) == [a]
    assert reception.route(b"a", [unknown]) == [a]
    assert reception.route(b"c", [a.identifier, unknown]) == []


def test_the_server_decides_for_which_of_overlapping_filters_a_message_comes() -> None:
    reception = Reception()
    narrow, wide = (reception.interest(request(topic_filter)) for topic_filter in ("a/b", "a/#"))
    assert reception.route(b"a/b", [wide.identifier]) == [wide]
    assert reception.route(b"a/b", [wide.identifier, narrow.identifier]) == [wide, narrow]
    assert reception.route(b"a/b", []) == [narrow, wide]


# -- retained messages


def attached(reception: Reception, topic_filter: str, *readers: Reader, **options: bool) -> Interest:
    interest = reception.interest(request(topic_filter, **options))
    for reader in readers:
        reception.attach(interest, reader)
    return interest


def test_a_retained_message_comes_only_to_the_newest_reader_of_a_filter() -> None:
    reception = Reception()
    old, new = Reader(), Reader()
    interest = attached(reception, "a", old, new)
    assert inboxes_of([interest], True) == [new]
    assert inboxes_of([interest], False) == [old, new]
    reception.detach(interest, new)
    assert inboxes_of([interest], True) == [old]


def test_with_retain_as_published_it_comes_to_all() -> None:
    readers = [Reader(), Reader()]
    assert inboxes_of([attached(Reception(), "a", *readers, retain_as_published=True)], True) == readers


def test_the_newest_of_two_filters_is_told_once() -> None:
    reception = Reception()
    first, both = Reader(), Reader()
    interests = [attached(reception, "a", first, both), attached(reception, "#", both)]
    assert inboxes_of(interests, True) == [both]
    assert inboxes_of(interests, False) == [first, both]


# -- parked messages


def parked_texts(client: Client) -> list[str]:
    return [message.text() for message in client.session.reception.parked]


def test_what_a_reader_leaves_undone_goes_to_the_next_unless_another_has_it_or_it_was_let_go() -> None:
    client = Client()
    client.connect()
    reception = client.session.reception
    leaver = client.reader("a/#")
    stayer = client.reader("a/both")
    client.send(
        *[message_packet(f"a/{name}", name, 1, 1 + number) for number, name in enumerate(("own", "both", "done"))]
    )
    messages = leaver.read()
    messages[2].ack()
    reception.detach(reception.interests[b"a/#"], leaver)
    reception.park(messages)
    assert parked_texts(client) == ["own"]
    assert client.take() == []
    assert stayer.texts() == ["both"]
    assert client.take() == []
    assert client.reader("a/#").texts() == ["own"]
    assert client.take() == [Acknowledgement(PUBACK, number) for number in (1, 2, 3)]


def test_parked_messages_that_do_not_fit_are_let_go() -> None:
    client = Client()
    client.connect(session_present=True)
    client.send(*[message_packet("a", text, 1, ord(text)) for text in "xyz"], message_packet("b", "kept", 1, 1))
    reader = Reader(2, DROP_NEWEST)
    client.subscribe(reader, "a")
    assert (reader.dropped, parked_texts(client)) == (1, ["kept"])
    assert reader.texts() == ["x", "y"]
    assert client.take() == [Acknowledgement(PUBACK, ord(text)) for text in "xyz"]


def test_parked_messages_are_let_go_when_their_filter_is_unsubscribed_and_no_other_matches() -> None:
    client = Client()
    client.connect(session_present=True)
    client.send(message_packet("a/b", "1", 1, 1), message_packet("a/c", "2", 1, 2), message_packet("c", "3", 1, 3))
    reception = client.session.reception
    reception.interest(request("a/c"))
    interest = reception.interest(request("a/#"))
    interest.leaving = True
    reception.forget(interest)
    assert parked_texts(client) == ["2", "3"]
    assert client.take() == [Acknowledgement(PUBACK, 1)]


def test_a_refused_filter_lets_nothing_go() -> None:
    client = Client()
    client.connect(session_present=True)
    client.send(message_packet("a", "1", 1, 1))
    client.session.reception.forget(client.session.reception.interest(request("a")))
    client.send(message_packet("a", "2", 1, 2))
    assert parked_texts(client) == ["1", "2"]


def test_a_filter_that_is_wanted_again_is_waited_for_again() -> None:
    reception = Reception()
    interest = reception.interest(request("a"))
    interest.leaving = True
    reception.forget(interest)
    assert not reception.may_be_wanted([], b"a")
    assert reception.may_be_wanted([], b"b")
    interest = reception.interest(request("a"))
    assert reception.may_be_wanted([interest], b"a")


@pytest.mark.parametrize("extra", [0, 10])
def test_the_filters_that_were_left_are_bounded(extra: int) -> None:
    reception = Reception()
    for number in range(REMEMBERED_TOPICS + extra):
        interest = reception.interest(request(f"t/{number}"))
        interest.leaving = True
        reception.forget(interest)
    assert 0 < len(reception._left) <= REMEMBERED_TOPICS
    assert not reception.may_be_wanted([], f"t/{REMEMBERED_TOPICS + extra - 1}".encode())
