"""Do a program's hooks see what clients do, change it and refuse it, and fail on the safe side when they raise?"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.process import BareClient
from tidewire.server.hooks import (
    ClientInfo,
    ConnectRequest,
    Disconnection,
    Drop,
    ProgramHooks,
    PublishRequest,
    Refuse,
    SubscribeRequest,
)
from tidewire.testing import BrokerThread
from tidewire.wire import properties as p
from tidewire.wire.codes import PUBACK, PUBCOMP, PUBREC, PUBREL, ReasonCode
from tidewire.wire.packets import (
    Acknowledgement,
    Disconnect,
    Pingreq,
    Pingresp,
    Publish,
    Suback,
    Subscribe,
    SubscriptionRequest,
    Will,
)
from tidewire.wire.properties import Properties

VERSIONS = [pytest.param(4, id="3.1.1"), pytest.param(5, id="5.0")]
QOS = [0, 1, 2]

NO_WAY = ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR


class Setup:
    """Brokers with hooks, and clients of theirs."""

    def __init__(self) -> None:
        self.brokers: list[BrokerThread] = []
        self.clients: list[BareClient] = []

    def broker(self, **options: Any) -> BrokerThread:
        self.brokers.append(BrokerThread(**options))
        return self.brokers[-1]

    def connect(self, client_identifier: str, version: int = 5, **fields: Any) -> BareClient:
        self.clients.append(BareClient(("127.0.0.1", self.brokers[-1].port), version))
        return self.clients[-1].connect(client_identifier, **fields)

    def subscriber(self, topic_filter: str = "#", version: int = 5) -> BareClient:
        client = self.connect("subscriber", version)
        client.subscribe(topic_filter, 2)
        return client


@pytest.fixture
def setup() -> Iterator[Setup]:
    made = Setup()
    yield made
    for client in made.clients:
        client.close()
    for broker in made.brokers:
        broker.stop()


def publish(client: BareClient, topic: str, payload: bytes, qos: int, **fields: Any) -> int:
    """Publish a message to its end; the reason code of PUBACK or PUBREC, which at QoS 0 is nobody's."""
    client.send(Publish(topic.encode(), payload, qos, packet_identifier=7 if qos else 0, **fields))
    if qos == 0:
        client.send(Pingreq())
        assert client.receive() == Pingresp()
        return 0
    answer = client.receive()
    assert isinstance(answer, Acknowledgement), answer
    assert answer.packet_type == (PUBACK if qos == 1 else PUBREC)
    if qos == 2 and answer.reason_code < 0x80:
        client.send(Acknowledgement(PUBREL, 7))
        assert client.receive() == Acknowledgement(PUBCOMP, 7)
    return answer.reason_code


def nothing_came(client: BareClient) -> bool:
    """Whether the answer to a PINGREQ is all that was on its way."""
    client.send(Pingreq())
    return client.receive() == Pingresp()


def raises(*_: object) -> None:
    raise RuntimeError("a bug in the program")


# -- on_connect


@pytest.mark.parametrize("version", VERSIONS)
def test_on_connect_sees_who_asks_to_come_in(setup: Setup, version: int) -> None:
    seen: list[ConnectRequest] = []
    setup.broker(on_connect=seen.append)
    client = setup.connect("alice", version, keep_alive=30, user_name="al", password=b"secret")
    peer = f"127.0.0.1:{client.socket.getsockname()[1]}"
    expected = ClientInfo("alice", None, peer, "3.1.1" if version == 4 else "5.0")
    assert seen == [ConnectRequest(expected, "al", b"secret", True, 30, Properties())]
    assert "secret" not in repr(seen)


def test_on_connect_sees_the_client_identifier_that_the_broker_assigned(setup: Setup) -> None:
    seen: list[ConnectRequest] = []
    setup.broker(on_connect=seen.append)
    connack = setup.connect("").connack
    assert connack.properties.texts[p.ASSIGNED_CLIENT_IDENTIFIER] == seen[0].client.client_identifier != ""


@pytest.mark.parametrize(("version", "code"), [(4, 5), (5, ReasonCode.BANNED)])
def test_on_connect_refuses_by_a_reason_code(setup: Setup, version: int, code: int) -> None:
    setup.broker(on_connect=lambda request: ReasonCode.BANNED if request.user_name == "mallory" else None)
    assert setup.connect("a", version, user_name="mallory").connack.reason_code == code
    assert setup.connect("b", version, user_name="alice").connack.reason_code == 0


def test_on_connect_refuses_by_raising_refuse(setup: Setup) -> None:
    def closed_on_sundays(request: ConnectRequest) -> None:
        raise Refuse(ReasonCode.SERVER_BUSY)

    setup.broker(on_connect=closed_on_sundays)
    client = setup.connect("a")
    assert client.connack.reason_code == ReasonCode.SERVER_BUSY
    assert client.receive() is None


@pytest.mark.parametrize(("version", "code"), [(4, 3), (5, NO_WAY)])
def test_nobody_comes_in_when_on_connect_raises_and_the_log_names_it(
    setup: Setup, version: int, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    broker = setup.broker(on_connect=raises)
    assert setup.connect("alice", version).connack.reason_code == code
    assert broker.clients == []
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == f"hook on_connect ({__name__}.raises) raised client=alice"
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "a bug in the program"


def test_the_user_that_on_connect_vouches_for_is_who_the_access_rules_know(setup: Setup) -> None:
    seen: list[PublishRequest] = []
    setup.broker(
        on_connect=lambda request: "admin" if request.password == b"token" else None,
        on_publish=seen.append,
        access={"rules": [{"effect": "allow", "topic": "commands/#", "user": "admin"}]},
    )
    admin, stranger = setup.connect("a", user_name="x", password=b"token"), setup.connect("b", user_name="admin")
    assert publish(admin, "commands/stop", b"", 1) == ReasonCode.NO_MATCHING_SUBSCRIBERS
    assert publish(stranger, "commands/stop", b"", 1) == ReasonCode.NOT_AUTHORIZED
    assert [request.client.user_name for request in seen] == ["admin"]


def test_a_session_is_not_handed_to_another_user_that_on_connect_vouches_for(setup: Setup) -> None:
    setup.broker(on_connect=lambda request: request.user_name)
    later = Properties()
    later.integers[p.SESSION_EXPIRY_INTERVAL] = 60
    for user_name, present in (("alice", False), ("alice", True), ("mallory", False)):
        client = setup.connect("board", clean_start=False, user_name=user_name, properties=later)
        assert client.connack.session_present is present


# -- on_publish


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("qos", QOS)
def test_on_publish_that_says_nothing_lets_a_message_pass_as_it_is(setup: Setup, version: int, qos: int) -> None:
    seen: list[PublishRequest] = []
    setup.broker(on_publish=seen.append)
    subscriber, publisher = setup.subscriber(), setup.connect("publisher", version)
    assert publish(publisher, "a/b", b"hello", qos) == 0
    message = subscriber.receive()
    assert isinstance(message, Publish)
    assert (message.topic, message.payload, message.qos) == (b"a/b", b"hello", qos)
    (request,) = seen
    assert (request.client.client_identifier, request.topic, request.payload) == ("publisher", "a/b", b"hello")
    assert (request.qos, request.retain, request.is_will) == (qos, False, False)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("qos", QOS)
def test_on_publish_changes_topic_payload_and_qos(setup: Setup, version: int, qos: int) -> None:
    setup.broker(on_publish=lambda request: dataclasses.replace(request, topic="c/d", payload=b"changed", qos=1))
    subscriber, publisher = setup.subscriber("c/#"), setup.connect("publisher", version)
    assert publish(publisher, "a/b", b"hello", qos) == 0
    message = subscriber.receive()
    assert isinstance(message, Publish)
    assert (message.topic, message.payload, message.qos) == (b"c/d", b"changed", 1)


def test_on_publish_sees_and_changes_properties(setup: Setup) -> None:
    seen: list[Properties] = []

    def stamp(request: PublishRequest) -> PublishRequest:
        properties = request.properties
        seen.append(Properties())
        seen[-1].integers |= properties.integers
        seen[-1].texts |= properties.texts
        properties.integers[p.MESSAGE_EXPIRY_INTERVAL] = 5
        properties.user_properties.append(("from", request.client.client_identifier))
        return request

    setup.broker(on_publish=stamp)
    sent = Properties()
    sent.integers[p.MESSAGE_EXPIRY_INTERVAL] = 100
    sent.texts[p.CONTENT_TYPE] = "text/plain"
    subscriber, publisher = setup.subscriber(), setup.connect("publisher")
    publish(publisher, "a", b"x", 1, properties=sent)
    assert seen == [sent]
    message = subscriber.receive()
    assert isinstance(message, Publish)
    assert message.properties.integers[p.MESSAGE_EXPIRY_INTERVAL] == 5
    assert message.properties.texts[p.CONTENT_TYPE] == "text/plain"
    assert message.properties.user_properties == [("from", "publisher")]


@pytest.mark.parametrize("refusal", ["returned", "raised"])
@pytest.mark.parametrize(("version", "told"), [(4, False), (5, True)])
@pytest.mark.parametrize("qos", QOS)
def test_on_publish_refuses_and_tells_those_who_can_be_told(
    setup: Setup, version: int, told: bool, qos: int, refusal: str
) -> None:
    def check(request: PublishRequest) -> int | None:
        if request.payload != b"bad":
            return None
        if refusal == "raised":
            raise Refuse(ReasonCode.QUOTA_EXCEEDED)
        return ReasonCode.QUOTA_EXCEEDED

    setup.broker(on_publish=check)
    subscriber, publisher = setup.subscriber(), setup.connect("publisher", version)
    assert publish(publisher, "a", b"bad", qos) == (ReasonCode.QUOTA_EXCEEDED if told and qos else 0)
    assert publish(publisher, "a", b"good", qos) == 0
    message = subscriber.receive()
    assert isinstance(message, Publish)
    assert message.payload == b"good"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("qos", QOS)
def test_nothing_is_published_when_on_publish_raises(setup: Setup, version: int, qos: int) -> None:
    setup.broker(on_publish=raises)
    subscriber, publisher = setup.subscriber(), setup.connect("publisher", version)
    assert publish(publisher, "a", b"x", qos) == (NO_WAY if version == 5 and qos else 0)
    assert nothing_came(subscriber)
    assert nothing_came(publisher), "its connection goes on"


UNUSABLE: list[Callable[[PublishRequest], Any]] = [
    lambda request: dataclasses.replace(request, topic="a/#"),
    lambda request: dataclasses.replace(request, topic=""),
    lambda request: dataclasses.replace(request, topic="x" * 65_536),
    lambda request: dataclasses.replace(request, topic="/" * 1_000),
    lambda request: dataclasses.replace(request, payload="text"),  # type: ignore[arg-type]
    lambda request: dataclasses.replace(request, qos=3),
    lambda request: False,
    lambda request: "refused",
    lambda request: 0x42,
    lambda request: ReasonCode.SERVER_BUSY,
]


@pytest.mark.parametrize("hook", UNUSABLE)
def test_an_answer_of_on_publish_that_cannot_be_is_a_refusal_and_named_in_the_log(
    setup: Setup, hook: Callable[[PublishRequest], Any], caplog: pytest.LogCaptureFixture
) -> None:
    setup.broker(on_publish=hook)
    subscriber, publisher = setup.subscriber(), setup.connect("publisher")
    assert publish(publisher, "a", b"x", 1) == NO_WAY
    assert nothing_came(subscriber)
    assert "hook on_publish (" in caplog.text


def test_each_message_of_a_run_is_asked_about(setup: Setup) -> None:
    setup.broker(on_publish=lambda request: ReasonCode.NOT_AUTHORIZED if request.payload == b"2" else None)
    subscriber, publisher = setup.subscriber(), setup.connect("publisher")
    publisher.send(*[Publish(b"a", str(number).encode()) for number in range(5)])
    got = [subscriber.receive() for _ in range(4)]
    assert [message.payload for message in got if isinstance(message, Publish)] == [b"0", b"1", b"3", b"4"]


def test_a_message_at_qos_2_that_is_sent_again_is_asked_about_once(setup: Setup) -> None:
    seen: list[PublishRequest] = []
    setup.broker(on_publish=seen.append)
    publisher = setup.connect("publisher")
    message = Publish(b"a", b"x", 2, packet_identifier=1)
    publisher.send(message, dataclasses.replace(message, dup=True))
    assert isinstance(publisher.receive(), Acknowledgement)
    assert isinstance(publisher.receive(), Acknowledgement)
    assert len(seen) == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_a_retained_message_is_retained_as_on_publish_wants_it(setup: Setup, version: int) -> None:
    def check(request: PublishRequest) -> PublishRequest | int:
        if request.topic == "secret":
            return ReasonCode.NOT_AUTHORIZED
        return dataclasses.replace(request, payload=b"changed", retain=request.topic != "fleeting")

    setup.broker(on_publish=check)
    publisher = setup.connect("publisher", version)
    for topic in ("secret", "fleeting", "kept"):
        publish(publisher, topic, b"x", 1, retain=True)
    subscriber = setup.subscriber()
    message = subscriber.receive()
    assert isinstance(message, Publish)
    assert (message.topic, message.payload, message.retain) == (b"kept", b"changed", True)
    assert nothing_came(subscriber)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("outcome", ["passes", "is changed", "is refused", "raises"])
def test_a_will_goes_through_on_publish_too(setup: Setup, version: int, outcome: str) -> None:
    seen: list[PublishRequest] = []

    def check(request: PublishRequest) -> PublishRequest | int | None:
        seen.append(request)
        if outcome == "raises":
            raise RuntimeError
        answers = {
            "passes": None,
            "is changed": dataclasses.replace(request, payload=b"gone"),
            "is refused": ReasonCode.NOT_AUTHORIZED,
        }
        return answers[outcome]

    broker = setup.broker(on_publish=check)
    subscriber = setup.subscriber()
    setup.connect("board", version, will=Will(b"status", b"offline", 1))
    broker.faults.cut("board")
    broker.wait_until(lambda: seen != [])
    assert seen[0].is_will
    assert (seen[0].client.client_identifier, seen[0].topic, seen[0].qos) == ("board", "status", 1)
    if outcome in ("is refused", "raises"):
        assert nothing_came(subscriber)
    else:
        message = subscriber.receive()
        assert isinstance(message, Publish)
        assert message.payload == (b"gone" if outcome == "is changed" else b"offline")


def test_what_access_rules_deny_is_not_asked_about(setup: Setup) -> None:
    seen: list[PublishRequest] = []
    setup.broker(on_publish=seen.append, access={"rules": [{"effect": "allow", "topic": "a"}]})
    publisher = setup.connect("publisher")
    assert publish(publisher, "b", b"x", 1) == ReasonCode.NOT_AUTHORIZED
    assert publish(publisher, "$SYS/broker/uptime", b"x", 1) == ReasonCode.NOT_AUTHORIZED
    assert seen == []


# -- on_subscribe


def suback(client: BareClient, *requests: SubscriptionRequest) -> list[int]:
    client.send(Subscribe(1, list(requests)))
    answer = client.receive()
    assert isinstance(answer, Suback), answer
    return answer.reason_codes


def test_on_subscribe_sees_each_filter_and_its_options(setup: Setup) -> None:
    seen: list[SubscribeRequest] = []
    setup.broker(on_subscribe=seen.append)
    client = setup.connect("alice")
    suback(client, SubscriptionRequest(b"a/+", 1, True, True, 2), SubscriptionRequest(b"$share/g/b/#", 2))
    (first, second) = seen
    assert first == SubscribeRequest(first.client, "a/+", 1, True, True, 2)
    assert second == SubscribeRequest(first.client, "$share/g/b/#", 2)
    assert first.client.client_identifier == "alice"


@pytest.mark.parametrize(("version", "refused"), [(4, 0x80), (5, ReasonCode.TOPIC_FILTER_INVALID)])
def test_on_subscribe_refuses_one_filter_and_grants_less_for_another(setup: Setup, version: int, refused: int) -> None:
    def check(request: SubscribeRequest) -> int | None:
        if request.topic_filter == "#":
            raise Refuse(ReasonCode.TOPIC_FILTER_INVALID)
        return {"slow/#": 0, "generous/#": 2}.get(request.topic_filter)

    setup.broker(on_subscribe=check)
    client = setup.connect("alice", version)
    filters = (b"#", b"slow/#", b"generous/#", b"else")
    assert suback(client, *[SubscriptionRequest(each, 1) for each in filters]) == [refused, 0, 1, 1]
    publish(setup.connect("publisher"), "slow/1", b"x", 1)
    message = client.receive()
    assert isinstance(message, Publish)
    assert message.qos == 0


def test_retained_messages_come_at_the_qos_that_on_subscribe_granted(setup: Setup) -> None:
    setup.broker(on_subscribe=lambda request: 0)
    publish(setup.connect("publisher"), "a", b"x", 1, retain=True)
    client = setup.connect("alice")
    assert suback(client, SubscriptionRequest(b"a", 2)) == [0]
    message = client.receive()
    assert isinstance(message, Publish)
    assert (message.qos, message.retain) == (0, True)


@pytest.mark.parametrize("hook", [raises, lambda request: True, lambda request: 3, lambda request: 0x8A])
@pytest.mark.parametrize(("version", "refused"), [(4, 0x80), (5, NO_WAY)])
def test_nothing_is_granted_when_on_subscribe_raises_or_says_what_cannot_be(
    setup: Setup, version: int, refused: int, hook: Callable[[SubscribeRequest], Any], caplog: pytest.LogCaptureFixture
) -> None:
    broker = setup.broker(on_subscribe=hook)
    assert suback(setup.connect("alice", version), SubscriptionRequest(b"a", 1)) == [refused]
    assert broker.subscriptions("alice") == []
    assert "hook on_subscribe (" in caplog.text


# -- on_disconnect and on_drop


def test_on_disconnect_sees_who_left_and_why(setup: Setup) -> None:
    seen: list[Disconnection] = []
    broker = setup.broker(on_disconnect=seen.append, on_connect=lambda request: "al")
    polite, cut = setup.connect("polite"), setup.connect("cut")
    polite.send(Disconnect())
    broker.wait_until(lambda: len(seen) == 1)
    cut.close()
    broker.wait_until(lambda: len(seen) == 2)
    assert [(each.client.client_identifier, each.client.user_name, each.reason_code) for each in seen] == [
        ("polite", "al", 0),
        ("cut", "al", ReasonCode.UNSPECIFIED_ERROR),
    ]
    assert seen[0].detail == "client disconnected"


def test_a_client_leaves_as_ever_when_on_disconnect_raises(setup: Setup, caplog: pytest.LogCaptureFixture) -> None:
    broker = setup.broker(on_disconnect=raises)
    subscriber = setup.subscriber()
    setup.connect("board", will=Will(b"status", b"offline")).close()
    message = subscriber.receive()
    assert isinstance(message, Publish)
    assert message.payload == b"offline"
    assert broker.clients == ["subscriber"]
    assert "hook on_disconnect (" in caplog.text


def test_on_drop_sees_a_burst_of_drops_begin_and_its_total(setup: Setup) -> None:
    seen: list[Drop] = []
    broker = setup.broker(on_drop=seen.append, limits={"queue_messages": 2})
    sleeper = setup.connect("sleeper", 4, clean_start=False)
    sleeper.subscribe("a", 1)
    sleeper.send(Disconnect())
    broker.wait_until(lambda: broker.clients == [])
    publisher = setup.connect("publisher")
    for _ in range(5):
        publish(publisher, "a", b"x", 1)
    assert seen == [Drop("sleeper", "queue full", 1, is_total=False)]
    broker.clock.advance(11)
    assert seen[1:] == [Drop("sleeper", "queue full", 3, is_total=True)]


def test_a_drop_costs_nobody_anything_when_on_drop_raises(setup: Setup, caplog: pytest.LogCaptureFixture) -> None:
    setup.broker(on_drop=raises, on_publish=lambda request: ReasonCode.NOT_AUTHORIZED)
    publisher = setup.connect("publisher")
    assert publish(publisher, "a", b"x", 1) == ReasonCode.NOT_AUTHORIZED
    assert nothing_came(publisher)
    assert "hook on_drop (" in caplog.text


def test_a_hook_that_raises_a_thousand_times_a_second_does_not_fill_the_log(
    setup: Setup, caplog: pytest.LogCaptureFixture
) -> None:
    setup.broker(on_publish=raises)
    publisher = setup.connect("publisher")
    publisher.send(*[Publish(b"a", b"x")] * 1_000)
    assert nothing_came(publisher)
    assert 0 < caplog.text.count("hook on_publish (") < 500


# -- what cannot be a hook


@pytest.mark.parametrize("name", ["on_connect", "on_publish", "on_subscribe", "on_disconnect", "on_drop"])
def test_what_cannot_be_called_and_returned_from_at_once_is_refused_at_once(name: str) -> None:
    async def hook(request: object) -> None: ...

    mistakes: list[tuple[Any, str]] = [(hook, "a plain function"), ("print", "a function, not 'print'")]
    for mistake, said in mistakes:
        with pytest.raises(TypeError, match=f"{name} must be {said}"):
            ProgramHooks(**{name: mistake})
