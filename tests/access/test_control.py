"""Do the rules in force hold for all that a client does, whatever it is called, up to its will?"""

from __future__ import annotations

import pytest

from tests.engine.harness import World
from tidewire.access.control import Policy, RuleAccess
from tidewire.access.rules import Rule, RuleSet
from tidewire.engine.ports import EVERYBODY, Access, Principal
from tidewire.wire.codes import ReasonCode
from tidewire.wire.packets import Connect, Will


def policy(*rules: Rule, anonymous: bool = True, disclose: bool = True) -> Policy:
    return Policy(RuleSet(rules), bool(rules), anonymous, disclose)


def access(*rules: Rule, disclose: bool = True) -> RuleAccess:
    return RuleAccess(policy(*rules, disclose=disclose))


class Named(RuleAccess):
    """Believes every user name."""

    def authenticate(self, packet: Connect, connection: object) -> tuple[int, Principal]:
        return 0, Principal(packet.user_name, "")


def test_without_rules_the_engine_asks_nothing() -> None:
    assert access().unrestricted
    assert not access(Rule("allow", "all", b"#")).unrestricted


@pytest.mark.parametrize(("anonymous", "answer"), [(True, (0, EVERYBODY)), (False, (ReasonCode.NOT_AUTHORIZED, None))])
def test_who_proves_no_name_is_anonymous(anonymous: bool, answer: object) -> None:
    decides = RuleAccess(policy(anonymous=anonymous))
    assert decides.authenticate(Connect("x", user_name="alice"), World().open().connection) == answer


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
    world = World(ReadRules(policy(*INSIDE)))
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
    world = World(ReadRules(policy(*INSIDE)))
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
    decides.adopt(policy(*INSIDE))
    world.broker.access_changed()
    alice.publish("out", qos=1)
    assert alice.take()[0].reason_code == 0x87  # type: ignore[attr-defined]
    alice.publish("in/a", qos=1)
    assert [message.topic for message in alice.settle()] == [b"in/a"]


# -- names in rules, as clients bring them

OWN = (Rule("allow", "all", b"boards/%c/#"), Rule("allow", "all", b"people/%u/#"))


def test_a_client_has_the_topics_of_its_names() -> None:
    world = World(Named(policy(*OWN)))
    peer = world.connect("7", 5, user_name="alice")
    assert peer.subscribe("boards/7/#", "people/alice/x", "boards/8/#", "people/bob/x") == [0, 0, 0x87, 0x87]
    for topic, code in (("boards/7/a", 0), ("people/alice/a", 0x10), ("boards/8/a", 0x87), ("people/bob/a", 0x87)):
        peer.take()
        peer.publish(topic, qos=1)
        assert [answer.reason_code for answer in peer.take() if hasattr(answer, "reason_code")] == [code]


def test_a_client_that_is_given_its_identifier_has_the_topics_of_that() -> None:
    world = World(access(*OWN))
    peer = world.connect("", 5)
    (identifier,) = world.broker.sessions
    assert peer.subscribe(f"boards/{identifier}/#", "boards//#") == [0, 0x87]


@pytest.mark.parametrize("name", ["+", "#", "7/#", "+/x", "$SYS", ""])
def test_a_wildcard_in_client_identifier_or_user_name_opens_nothing(name: str) -> None:
    decides = Named(policy(*OWN, Rule("allow", "all", b"%u/#"), Rule("allow", "all", b"%c/#")))
    world = World(decides)
    victim = world.connect("7", 5, user_name="alice")
    victim.publish("boards/7/secret", qos=0, retain=True)
    peer = world.connect(name or "c", 5, user_name=name)
    asked = ["#", "+/+/#", "boards/+/#", "boards/7/secret", "people/alice/#", "$SYS/#", "$share/g/boards/#"]
    granted = peer.subscribe(*asked)
    victim.publish("boards/7/secret")
    assert peer.messages() == []
    assert granted[asked.index("$SYS/#")] == 0x87
    if name not in ("", "$SYS"):  # these have topics of their own, boards/c/# and boards/$SYS/#
        assert set(granted) == {0x87}
    peer.publish("boards/7/secret", b"", qos=1, retain=True)
    assert peer.take()[-1].reason_code == 0x87  # type: ignore[attr-defined]
    assert world.broker.retained.current(b"boards/7/secret") is not None


def test_a_shared_subscription_goes_by_the_rules_of_each_of_its_members() -> None:
    world = World(Named(policy(Rule("allow", "all", b"#", "alice"), Rule("allow", "all", b"open/#"))))
    alice = world.connect("a", 5, user_name="alice")
    bob = world.connect("b", 5, user_name="bob")
    assert alice.subscribe("$share/g/#") + bob.subscribe("$share/g/#", "$share/g/secret") == [0, 0, 0x87]
    for _ in range(4):
        alice.publish("secret")
        alice.publish("open/x")
    assert [message.topic for message in alice.messages()].count(b"secret") == 4
    assert {message.topic for message in bob.messages()} == {b"open/x"}


def test_sys_topics_need_a_rule_that_names_them() -> None:
    world = World(Named(policy(Rule("allow", "all", b"#"), Rule("allow", "subscribe", b"$SYS/#", "admin"))))
    assert world.connect("a", 5, user_name="alice").subscribe("$SYS/#", "$SYS/broker/version") == [0x87, 0x87]
    assert world.connect("b", 5, user_name="admin").subscribe("$SYS/#") == [0]


# -- after a reload


def test_a_will_goes_by_the_rules_of_the_moment_at_which_it_is_published() -> None:
    decides = access(Rule("allow", "all", b"#"))
    world = World(decides)
    watcher = world.connect("watcher")
    watcher.subscribe("in/#", "out")
    doomed = world.connect("doomed", will=Will(b"out", b"gone"))
    decides.adopt(policy(*INSIDE))
    world.broker.access_changed()
    doomed.lose()
    assert watcher.messages() == []
    assert world.events.of("denied") == [("doomed", "publish", b"out")]


def retained_by(client_identifier: str, user_name: str) -> tuple[Named, World]:
    decides = Named(policy(Rule("allow", "all", b"#")))
    world = World(decides)
    publisher = world.connect(client_identifier, 5, user_name=user_name)
    publisher.publish("state", b"on", retain=True)
    publisher.disconnect()
    return decides, world


def reload(decides: RuleAccess, world: World, *rules: Rule) -> None:
    decides.adopt(policy(*rules))
    world.broker.access_changed()


def test_a_retained_message_is_withheld_while_its_publisher_may_not_publish_it() -> None:
    decides, world = retained_by("board", "alice")
    everything = Rule("allow", "all", b"#")
    reader = world.connect("reader", 5, user_name="bob")

    def retained() -> list[bytes]:
        reader.subscribe("state")
        return [message.payload for message in reader.messages()]

    assert retained() == [b"on"]
    reload(decides, world, everything, Rule("deny", "publish", b"state", "alice"))
    assert retained() == []
    reload(decides, world, everything, Rule("deny", "publish", b"state", "carol"))
    assert retained() == [b"on"]  # a mistake in a reload has lost nothing
    reload(decides, world, everything, Rule("deny", "publish", b"state", "alice"))
    world.connect("other", 5, user_name="carol").publish("state", b"off", retain=True)
    assert [payload for payload in retained() if payload == b"on"] == []
    assert retained() == [b"off"]


def test_a_retained_message_answers_to_the_client_identifier_of_its_publisher_too() -> None:
    decides, world = retained_by("ate", "alice")
    reader = world.connect("reader", 5, user_name="bob")
    reads = Rule("allow", "subscribe", b"#")
    reload(decides, world, reads, Rule("allow", "publish", b"%u"))
    assert reader.subscribe("state") == [0]
    assert reader.messages() == []
    reload(decides, world, reads, Rule("allow", "publish", b"st%c"))
    reader.subscribe("state")
    assert [message.payload for message in reader.messages()] == [b"on"]
    reload(decides, world, reads, Rule("allow", "publish", b"state"))
    reader.subscribe("state")
    assert [message.payload for message in reader.messages()] == [b"on"]


def test_rules_with_client_identifiers_hold_for_who_connected_before_them() -> None:
    decides, world = retained_by("board", "alice")
    peer = world.connect("7", 5, user_name="alice")
    reload(decides, world, Rule("allow", "publish", b"boards/%c"), Rule("allow", "subscribe", b"#"))
    for topic, code in (("boards/7", 0x10), ("boards/8", 0x87)):
        peer.publish(topic, qos=1)
        assert peer.take()[-1].reason_code == code  # type: ignore[attr-defined]
    reload(decides, world, Rule("allow", "publish", b"state"), Rule("deny", "publish", b"+", "bob"))
    reload(decides, world, Rule("allow", "all", b"#"), Rule("deny", "publish", b"%c"))
    reader = world.connect("reader", 5, user_name="bob")
    reader.subscribe("state")
    assert [message.payload for message in reader.messages()] == [b"on"]


def test_messages_of_the_broker_itself_stay_whatever_the_rules_say() -> None:
    decides = Named(policy(Rule("allow", "subscribe", b"$SYS/#")))
    world = World(decides, sys_interval_s=10.0)
    world.advance(11)
    reload(decides, world, Rule("allow", "subscribe", b"$SYS/#"))
    reader = world.connect("reader", 5, user_name="bob")
    reader.subscribe("$SYS/broker/version")
    assert len(reader.messages()) == 1


# -- rights of one client alone


def test_what_a_client_proved_its_name_by_cuts_it_off_when_it_expires() -> None:
    class Expiring(Access):
        def authenticate(self, packet: Connect, connection: object) -> tuple[int, Principal]:
            principal = Principal("alice", "")
            principal.expires_at = world.now + 60
            return 0, principal

    world = World(Expiring())
    v5, v4 = world.connect("5", 5, keep_alive=1000), world.connect("4", 4)
    world.advance(59.5)
    assert not v5.is_closed and not v4.is_closed
    world.advance(1)
    assert [(type(packet).__name__, packet.reason_code) for packet in v5.take()] == [  # type: ignore[attr-defined]
        ("Disconnect", ReasonCode.MAXIMUM_CONNECT_TIME)
    ]
    assert v4.is_closed


def test_keep_alive_goes_on_beside_an_expiry() -> None:
    class Expiring(Access):
        def authenticate(self, packet: Connect, connection: object) -> tuple[int, Principal]:
            principal = Principal("alice", "")
            principal.expires_at = world.now + 600
            return 0, principal

    world = World(Expiring())
    peer = world.connect("5", 5, keep_alive=10)
    world.advance(16)
    assert peer.take()[-1].reason_code == ReasonCode.KEEP_ALIVE_TIMEOUT  # type: ignore[attr-defined]
