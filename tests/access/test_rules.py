"""Do access rules deny what a rule denies and what none allows, whatever a client calls itself?"""

from __future__ import annotations

from functools import cache
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.harness import World
from tests.wire.strategies import many
from tidewire.access import passwords
from tidewire.access.passwords import Passwords, read_passwords, set_password
from tidewire.access.rules import Rule, RuleAccess, intersection
from tidewire.engine.ports import EVERYBODY, Principal
from tidewire.wire.codes import ReasonCode
from tidewire.wire.packets import Connect, Will
from tidewire.wire.topics import matches

LEVELS = ["a", "b", "$a", ""]
FRESH = "z"  # a level that no filter names: it stands for all of them
TOPICS = [
    topic.encode() for count in range(1, 6) for topic in map("/".join, product([*LEVELS, FRESH], repeat=count)) if topic
]

filters = st.builds(
    lambda levels, rest: ("/".join([*levels, "#"] if rest or not "/".join(levels) else levels)).encode(),
    st.lists(st.sampled_from([*LEVELS, "+", "+"]), max_size=3),
    st.booleans(),
)


@cache
def matched(topic_filter: bytes) -> frozenset[bytes]:
    """The topics that a filter matches, by trying all."""
    return frozenset(topic for topic in TOPICS if matches(topic_filter, topic))


@many
@given(filters, filters)
def test_the_intersection_of_two_filters_agrees_with_trying_all_topics(one: bytes, other: bytes) -> None:
    both = intersection(one, other)
    assert (matched(both) if both is not None else frozenset()) == matched(one) & matched(other)


rules = st.lists(
    st.builds(
        Rule,
        st.sampled_from(["allow", "deny"]),
        st.sampled_from(["publish", "subscribe", "all"]),
        filters,
        st.sampled_from([None, "alice", "bob"]),
    ),
    min_size=1,
    max_size=5,
)


def access(
    *given_rules: Rule, users: Passwords | None = None, anonymous: bool = True, disclose: bool = True
) -> RuleAccess:
    return RuleAccess(list(given_rules), users, anonymous, disclose)


@many
@given(rules, st.sampled_from([None, "alice", "bob"]), st.sampled_from(TOPICS))
def test_a_deny_beats_every_allow_and_silence_denies(
    given_rules: list[Rule], user_name: str | None, topic: bytes
) -> None:
    decides = access(*given_rules)
    principal = Principal(user_name, "client")
    for action, allowed in (
        ("publish", decides.may_publish(principal, topic)),
        ("subscribe", decides.may_read(principal, topic)),
    ):
        effects = {
            rule.effect
            for rule in given_rules
            if rule.action in (action, "all")
            and rule.user_name in (user_name, None)
            and matches(rule.topic_filter, topic)
        }
        assert allowed == (effects == {"allow"})


@many
@given(rules, filters)
def test_a_filter_is_refused_when_and_only_when_it_could_match_no_readable_topic(
    given_rules: list[Rule], topic_filter: bytes
) -> None:
    decides = access(*given_rules)
    principal = Principal("alice", "client")
    readable = any(decides.may_read(principal, topic) for topic in matched(topic_filter))
    assert decides.may_subscribe(principal, topic_filter) == readable


def test_without_rules_the_engine_asks_nothing() -> None:
    assert access().unrestricted
    assert not access(Rule("allow", "all", b"#")).unrestricted


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Passwords:
    monkeypatch.setattr(passwords, "ITERATIONS", 10)
    set_password(tmp_path / "passwords", "alice", b"secret")
    return read_passwords(tmp_path / "passwords")


@pytest.mark.parametrize(
    ("with_file", "anonymous", "user_name", "answer"),
    [
        (False, True, None, (0, EVERYBODY)),
        (False, True, "alice", (0, EVERYBODY)),
        (False, False, None, (ReasonCode.NOT_AUTHORIZED, None)),
        (False, False, "alice", (ReasonCode.NOT_AUTHORIZED, None)),
        (True, True, None, (0, EVERYBODY)),
        (True, False, None, (ReasonCode.NOT_AUTHORIZED, None)),
        (True, True, "alice", None),
        (True, False, "alice", None),
    ],
)
def test_who_is_asked_for_a_password(
    users: Passwords, with_file: bool, anonymous: bool, user_name: str | None, answer: object
) -> None:
    decides = access(users=users if with_file else None, anonymous=anonymous)
    connection = World().open().connection
    assert decides.authenticate(Connect("x", user_name=user_name), connection) == answer


def test_a_password_that_is_right_makes_a_principal_that_connections_share(users: Passwords) -> None:
    decides = access(users=users)
    code, principal = decides.verify(Connect("one", user_name="alice", password=b"secret"))
    assert code == 0
    assert principal is not None
    assert principal.user_name == "alice"
    assert decides.verify(Connect("two", user_name="alice", password=b"secret"))[1] is principal


@pytest.mark.parametrize(
    ("user_name", "password"), [("alice", b"wrong"), ("alice", None), ("bob", b"secret"), ("", b"")]
)
def test_a_password_that_is_wrong_is_refused(users: Passwords, user_name: str, password: bytes | None) -> None:
    refused = (ReasonCode.BAD_USER_NAME_OR_PASSWORD, None)
    assert access(users=users).verify(Connect("x", user_name=user_name, password=password)) == refused


# -- the rules in force, seen from a client

INSIDE = (Rule("allow", "all", b"in/#"), Rule("deny", "all", b"in/secret/#"))


@pytest.mark.parametrize(
    ("version", "disclose", "code"), [(5, True, 0x87), (5, False, 0x80), (4, True, 0x80), (4, False, 0x80)]
)
def test_a_denied_filter_is_refused_in_the_suback_and_an_overlapping_one_is_filtered(
    version: int, disclose: bool, code: int
) -> None:
    world = World(access(*INSIDE, disclose=disclose))
    alice = world.connect("alice", version)
    asked = ["in/secret/a", "in/secret/#", "out", "#", "in/+/a", "$share/g/in/secret/#", "$share/g/#"]
    assert alice.subscribe(*asked) == [code, code, code, 0, 0, code, 0]
    assert world.events.of("denied") == [
        ("alice", "subscribe", b"in/secret/a"),
        ("alice", "subscribe", b"in/secret/#"),
        ("alice", "subscribe", b"out"),
        ("alice", "subscribe", b"$share/g/in/secret/#"),
    ]


class ReadRules(RuleAccess):
    """Everybody may publish; reading goes by the rules."""

    def may_publish(self, principal: Principal, topic: bytes) -> bool:
        return True


def test_messages_of_denied_topics_reach_neither_plain_nor_shared_nor_special_subscribers() -> None:
    world = World(ReadRules(list(INSIDE), None, True, True))
    plain, special, shared = (world.connect(name, 5) for name in ("plain", "special", "shared"))
    plain.subscribe("#")
    special.subscribe("#", retain_as_published=True)
    shared.subscribe("$share/g/#")
    publisher = world.connect("publisher")
    for topic in ("in/a", "in/secret/a", "out"):
        publisher.publish(topic)
        publisher.publish(topic, qos=1)
    for peer in (plain, special, shared):
        assert [message.topic for message in peer.messages()] == [b"in/a", b"in/a"]


def test_retained_messages_of_denied_topics_do_not_come() -> None:
    world = World(ReadRules(list(INSIDE), None, True, True))
    for topic in ("in/a", "in/secret/a", "out"):
        world.connect("publisher").publish(topic, retain=True)
    alice = world.connect("alice")
    alice.subscribe("#")
    assert [message.topic for message in alice.messages()] == [b"in/a"]


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("disclose", [True, False])
def test_a_denied_publish_is_answered_dropped_and_told_once_a_burst(version: int, qos: int, disclose: bool) -> None:
    world = World(access(*INSIDE, disclose=disclose))
    subscriber = world.connect("subscriber")
    subscriber.subscribe("#")
    alice = world.connect("alice", version)
    for identifier in (1, 2, 3):
        alice.publish("out", qos=qos, packet_identifier=identifier)
    answers = alice.take()
    expected = (0x87 if disclose else 0x80) if version == 5 else 0
    assert [answer.reason_code for answer in answers] == ([expected] * 3 if qos else [])  # type: ignore[attr-defined]
    assert subscriber.messages() == []
    assert world.events.of("denied") == [("alice", "publish", b"out")]
    assert world.events.of("dropped") == [("alice", "no permission", 1)]
    world.advance(11)
    assert world.events.of("dropped")[1:] == [("alice", "no permission", 3)]
    alice.publish("in/a", qos=qos, packet_identifier=4)
    assert len(subscriber.messages()) == 1


def test_a_denied_run_is_counted_message_by_message() -> None:
    world = World(access(*INSIDE))
    alice = world.connect("alice")
    alice.send_bytes(b"\x30\x06\0\3outx" * 50)
    world.advance(11)
    assert world.events.of("dropped") == [("alice", "no permission", 50), ("alice", "no permission", 50)]


@pytest.mark.parametrize("topic", ["out", "in/secret/x", "$SYS/broker/version"])
@pytest.mark.parametrize("retain", [True, False])
def test_a_will_goes_by_the_rules_of_its_client(topic: str, retain: bool) -> None:
    world = World(access(*INSIDE))
    alice = world.connect("alice", will=Will(topic.encode(), b"gone", retain=retain))
    alice.lose()
    assert world.events.of("denied") == [("alice", "publish", topic.encode())]
    assert world.broker.retained.count == 0
    bob = world.connect("bob", will=Will(b"in/a", b"gone", retain=True))
    bob.lose()
    assert world.broker.retained.current(b"in/a") is not None


@pytest.mark.parametrize("client_identifier", ["#", "+", "in/#", "alice", "%c", "../in", "$share/g/#"])
def test_a_client_identifier_never_widens_a_rule(client_identifier: str) -> None:
    world = World(access(Rule("allow", "all", b"in/#", "alice")))
    peer = world.connect(client_identifier, 5, user_name="alice")
    assert peer.subscribe("#", "in/a", client_identifier) == [0x87] * 3
    peer.publish("in/a", qos=1)
    assert peer.take()[-1].reason_code == 0x87  # type: ignore[attr-defined]


def test_nobody_publishes_to_sys_even_where_rules_allow_everything() -> None:
    for decides in (access(), access(Rule("allow", "all", b"#"), Rule("allow", "all", b"$SYS/#"))):
        world = World(decides)
        alice = world.connect("alice", 5)
        alice.publish("$SYS/broker/version", b"mine", qos=1, retain=True)
        assert alice.take()[0].reason_code == 0x87  # type: ignore[attr-defined]
        assert world.broker.retained.count == 0


def test_rules_that_changed_hold_from_then_on() -> None:
    decides = access(Rule("allow", "all", b"#"))
    world = World(decides)
    alice = world.connect("alice", 5)
    alice.subscribe("#")
    alice.publish("out", qos=1)
    assert [message.topic for message in alice.settle()] == [b"out"]
    decides.rules = list(INSIDE)
    decides.epoch += 1
    world.broker.access_changed()
    alice.publish("out", qos=1)
    assert alice.take()[0].reason_code == 0x87  # type: ignore[attr-defined]
    alice.publish("in/a", qos=1)
    assert [message.topic for message in alice.settle()] == [b"in/a"]
