"""Does a client become who it can prove to be, and nobody where that cannot be found out?"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

import tidewire
from tests.access.web_service import WebService
from tests.process import BareClient
from tidewire.access import hashes, scram
from tidewire.access.passwords import set_password
from tidewire.engine.ports import Certificate
from tidewire.server import verification
from tidewire.server.hooks import PublishRequest
from tidewire.server.listener import ClientProtocol
from tidewire.testing import BrokerThread
from tidewire.wire.codes import ReasonCode
from tidewire.wire.packets import (
    Acknowledgement,
    Connack,
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
    Publish,
    Suback,
    Subscribe,
    SubscriptionRequest,
    Will,
)

SECRET = b"0123456789abcdef0123456789abcdef"

Start = Callable[..., BrokerThread]


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that take no time."""
    monkeypatch.setattr(hashes, "ARGON2_MEMORY_KIB", 64)
    monkeypatch.setattr(hashes, "ARGON2_PASSES", 1)
    monkeypatch.setattr(scram, "ITERATIONS", 4096)


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts brokers: `start(password_file="…", rules=[…])`, with what stands in `[access]`."""
    brokers: list[BrokerThread] = []

    def make(hooks: dict[str, Any] | None = None, **access: Any) -> BrokerThread:
        brokers.append(BrokerThread(access=access, **(hooks or {})))
        return brokers[-1]

    yield make
    for broker in brokers:
        broker.stop()


@pytest.fixture
def passwords(tmp_path: Path) -> str:
    """alice has "secret", by argon2id; scarlet has "secret" too, by SCRAM."""
    set_password(tmp_path / "passwords", "alice", b"secret")
    set_password(tmp_path / "passwords", "scarlet", b"secret", "scram-sha-256")
    return str(tmp_path / "passwords")


@pytest.fixture
def service() -> Iterator[WebService]:
    with WebService() as running:
        yield running


def connect(broker: BrokerThread, client_identifier: str = "c", version: int = 5, **fields: Any) -> BareClient:
    return BareClient(("127.0.0.1", broker.port), version).connect(client_identifier, **fields)


def code_of(broker: BrokerThread, user_name: str | None, password: bytes | None, version: int = 5) -> int:
    """The reason code of the CONNACK."""
    with connect(broker, "c", version, user_name=user_name, password=password) as client:
        return client.connack.reason_code


def publish(client: BareClient, topic: str, **fields: Any) -> int:
    """The reason code of the PUBACK."""
    client.send(Publish(topic.encode(), b"x", 1, packet_identifier=1, **fields))
    answer = client.receive()
    assert isinstance(answer, Acknowledgement), answer
    return answer.reason_code


def subscribe(client: BareClient, *topic_filters: str) -> list[int]:
    client.send(Subscribe(1, [SubscriptionRequest(topic_filter.encode()) for topic_filter in topic_filters]))
    answer = client.receive()
    assert isinstance(answer, Suback), answer
    return answer.reason_codes


# -- passwords


@pytest.mark.parametrize(
    ("user_name", "password", "code"),
    [
        ("alice", b"secret", 0),
        ("scarlet", b"secret", 0),
        ("alice", b"Secret", 0x86),
        ("alice", None, 0x86),
        ("nobody", b"secret", 0x86),
        (None, b"secret", 0x86),
        (None, None, 0x87),
    ],
)
def test_a_password_opens_for_its_user_alone(
    start: Start, passwords: str, user_name: str | None, password: bytes | None, code: int
) -> None:
    assert code_of(start(password_file=passwords), user_name, password) == code


def test_a_password_that_was_right_before_needs_no_second_verification(
    start: Start, passwords: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = start(password_file=passwords)
    assert code_of(broker, "alice", b"secret") == 0
    monkeypatch.setattr(hashes.Argon2, "fits", lambda *_: False)
    assert code_of(broker, "alice", b"secret") == 0
    assert code_of(broker, "alice", b"secre") == 0x86


def test_ten_thousand_wrong_passwords_hold_up_nobody(start: Start, passwords: str) -> None:
    broker = start(password_file=passwords, attempts=10)
    honest = connect(broker, "honest", user_name="alice", password=b"secret")
    honest.subscribe("t")
    codes: list[int] = []
    for _ in range(100):
        crowd = [BareClient(("127.0.0.1", broker.port), 5) for _ in range(100)]
        for number, client in enumerate(crowd):
            client.send(Connect(f"guess-{number}", 5, user_name="alice", password=b"guess %d" % number))
        honest.publish("t")
        assert honest.receive() == Publish(b"t", b"x")
        for client in crowd:
            answer = client.receive()
            assert isinstance(answer, Connack)
            codes.append(answer.reason_code)
            client.close()
    assert set(codes) == {ReasonCode.BAD_USER_NAME_OR_PASSWORD, ReasonCode.CONNECTION_RATE_EXCEEDED}
    assert codes.count(ReasonCode.BAD_USER_NAME_OR_PASSWORD) <= 110  # those under way when the tenth was found wrong
    honest.close()


def test_who_guesses_makes_only_its_own_address_wait(start: Start, passwords: str) -> None:
    broker = start(password_file=passwords, attempts=2)
    guesses = [code_of(broker, "alice", b"guess") for _ in range(3)]
    assert guesses == [0x86, 0x86, ReasonCode.CONNECTION_RATE_EXCEEDED]
    assert code_of(broker, "alice", b"secret") == ReasonCode.CONNECTION_RATE_EXCEEDED
    assert code_of(broker, "alice", b"secret", 4) == 3  # server unavailable
    with BareClient(("127.0.0.1", broker.port), 5) as other:
        other.socket.close()
        other.socket = socket.create_connection(("127.0.0.1", broker.port), 10, ("127.0.0.2", 0))
        assert other.connect("c", user_name="alice", password=b"secret").connack.reason_code == 0
    broker.clock.advance(2)
    assert code_of(broker, "alice", b"secret") == 0


def test_log_ins_past_the_bound_are_told_that_the_server_is_busy(
    start: Start, service: WebService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "WAITING", 3)
    broker = start(http={"url": service.url})
    service.body = b'{"allow": true}'
    service.held.clear()
    clients = [BareClient(("127.0.0.1", broker.port), 5) for _ in range(5)]
    for number, client in enumerate(clients):
        client.send(Connect(f"c{number}", 5, user_name="alice", password=b"secret"))
        client.send(Pingreq())
    refused = [clients[3].receive(), clients[4].receive()]
    assert [packet.reason_code for packet in refused] == [ReasonCode.SERVER_BUSY] * 2  # type: ignore[union-attr]
    service.held.set()
    for client in clients[:3]:
        assert [client.receive(), client.receive()][1] == Pingresp()
    for client in clients:
        client.close()


def test_a_client_whose_question_finds_no_room_is_told_that_the_server_is_busy(
    start: Start, service: WebService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "WAITING", 1)
    broker = start(anonymous=True, http={"url": service.url})
    service.body = b'{"allow": true}'
    service.held.clear()
    first, second = connect(broker, "first"), connect(broker, "second")
    first.send(Publish(b"a", b"x", 1, packet_identifier=1))
    service.wait_for_requests(1)
    second.send(Publish(b"b", b"x"))
    farewell = second.receive()
    assert isinstance(farewell, Disconnect)
    assert farewell.reason_code == ReasonCode.SERVER_BUSY
    service.held.set()
    assert isinstance(first.receive(), Acknowledgement)
    for client in (first, second):
        client.close()


# -- tokens


def token(**claims: object) -> bytes:
    return jwt.encode({"sub": "alice", "exp": int(time.time()) + 600, **claims}, SECRET, "HS256").encode()


@pytest.fixture
def secret(tmp_path: Path) -> dict[str, Any]:
    """`[access.jwt]` with a shared secret."""
    (tmp_path / "secret").write_bytes(SECRET)
    return {"secret_file": str(tmp_path / "secret"), "leeway_s": 0}


def test_a_token_gives_its_client_name_and_topics(start: Start, secret: dict[str, Any]) -> None:
    broker = start(jwt=secret, rules=[{"effect": "allow", "action": "publish", "topic": "people/%u"}])
    shown = token(publish=["boards/%c/#"], subscribe=["news/#"])
    with connect(broker, "7", user_name="whatever", password=shown) as client:
        assert publish(client, "boards/7/state") == 0x10
        assert publish(client, "people/alice") == 0x10
        assert publish(client, "boards/8/state") == 0x87
        assert publish(client, "people/whatever") == 0x87
        assert subscribe(client, "news/today", "boards/7/#", "#") == [0, 0x87, 0]
    with connect(broker, "8", password=token()) as client:
        assert publish(client, "boards/8/state") == 0x87
        assert publish(client, "people/alice") == 0x10


def test_a_token_may_come_as_the_user_name(start: Start, secret: dict[str, Any]) -> None:
    broker = start(jwt={**secret, "from": "user_name"})
    assert code_of(broker, token().decode(), None) == 0
    assert code_of(broker, "alice", token()) == 0x86


def test_a_client_is_cut_off_when_its_token_expires(start: Start, secret: dict[str, Any]) -> None:
    broker = start(jwt=secret)
    client = connect(broker, "stale", password=token(publish="t"))
    longer = connect(broker, "longer", password=token(exp=int(time.time()) + 6000))
    broker.clock.advance(590)
    assert publish(client, "t") == 0x10
    broker.clock.advance(12)
    farewell = client.receive()
    assert isinstance(farewell, Disconnect)
    assert farewell.reason_code == ReasonCode.MAXIMUM_CONNECT_TIME
    assert client.receive() is None
    longer.send(Pingreq())
    assert longer.receive() == Pingresp()
    for peer in (client, longer):
        peer.close()


@pytest.mark.parametrize("claims", [{"exp": 1}, {"sub": ""}, {"publish": ["#/a"]}])
def test_a_token_that_does_not_hold_lets_nobody_in(
    start: Start, secret: dict[str, Any], passwords: str, claims: dict[str, object]
) -> None:
    broker = start(jwt=secret, password_file=passwords)
    assert code_of(broker, "alice", token(**claims)) == 0x86
    assert code_of(broker, "alice", b"secret") == 0


def test_the_rights_of_a_session_are_those_of_its_last_token(start: Start, secret: dict[str, Any]) -> None:
    broker = start(jwt=secret)
    keeps = tidewire.wire.properties.Properties()
    keeps.integers[tidewire.wire.properties.SESSION_EXPIRY_INTERVAL] = 600
    with connect(broker, "s", password=token(subscribe=["a", "b"]), properties=keeps) as client:
        assert subscribe(client, "a", "b") == [0, 0]
    publisher = connect(broker, "p", password=token(publish=["a", "b"]))
    for topic in ("a", "b"):
        assert publish(publisher, topic) in (0, 0x10)
    with connect(broker, "s", password=token(subscribe=["b"]), clean_start=False) as client:
        assert client.connack.session_present
        publish(publisher, "a")
        publish(publisher, "b")
        message = client.receive()
        assert isinstance(message, Publish) and message.topic == b"b"
    publisher.close()


# -- the call-out


def test_a_web_service_says_who_may_come_in_and_what_they_may_do(start: Start, service: WebService) -> None:
    def answer(asked: dict[str, Any]) -> dict[str, object]:
        if asked["action"] == "connect":
            return {"allow": asked["password"] == "secret", "user_name": "al"}
        return {"allow": asked["username"] == "al" and asked["topic"].startswith(f"boards/{asked['client_id']}/")}

    service.answer = answer
    broker = start(http={"url": service.url}, rules=[{"effect": "deny", "topic": "boards/+/locked"}])
    assert code_of(broker, "alice", b"wrong") == 0x86
    with connect(broker, "7", user_name="alice", password=b"secret") as client:
        assert subscribe(client, "boards/7/#", "boards/8/#", "#") == [0, 0x87, 0x87]
        for _ in range(3):
            assert publish(client, "boards/8/state") == 0x87
            client.send(Publish(b"boards/7/state", b"x"))
            assert client.receive() == Publish(b"boards/7/state", b"x")
        assert publish(client, "boards/7/locked") == 0x87
    topics = [asked["topic"] for _, asked in service.requests if asked["action"] == "publish"]
    assert topics == ["boards/8/state", "boards/7/state"]  # once each, and not at all what a rule decides


def test_a_web_service_may_give_rules_and_an_end(start: Start, service: WebService) -> None:
    service.body = b'{"allow": true, "publish": ["a/%c"], "expires_in": 60}'
    broker = start(http={"url": service.url, "authorize": False})
    client = connect(broker, "7", user_name="alice", password=b"secret")
    assert [publish(client, topic) for topic in ("a/7", "a/8")] == [0x10, 0x87]
    broker.clock.advance(61)
    assert isinstance(client.receive(), Disconnect)
    client.close()


@pytest.mark.parametrize("fault", ["status", "nonsense", "silence", "gone"])
def test_a_call_out_that_fails_denies(start: Start, service: WebService, fault: str) -> None:
    broker = start(http={"url": service.url, "timeout_s": 0.2})
    service.body = b'{"allow": true}'
    client = connect(broker, "7", user_name="alice", password=b"secret")
    assert client.connack.reason_code == 0
    if fault == "status":
        service.status = 503
    elif fault == "nonsense":
        service.body = b"<html>all is well</html>"
    elif fault == "silence":
        service.held.clear()
    else:
        service.stop()
    assert publish(client, "t") == 0x87
    assert subscribe(client, "t") == [0x87]
    assert code_of(broker, "bob", b"secret") in (ReasonCode.SERVER_UNAVAILABLE, 0x86)
    client.send(Pingreq())
    assert client.receive() == Pingresp()
    client.close()


def test_others_are_served_while_the_call_out_takes_its_time(start: Start, service: WebService) -> None:
    broker = start(anonymous=True, http={"url": service.url}, rules=[{"effect": "allow", "topic": "open"}])
    service.body = b'{"allow": true}'
    service.held.clear()
    waiting = connect(broker, "waiting")
    waiting.send(Publish(b"asked", b"1", 1, packet_identifier=1), Publish(b"open", b"2", 1, packet_identifier=2))
    other = connect(broker, "other")
    for _ in range(10):
        assert publish(other, "open") == 0x10
    service.held.set()
    answers = [waiting.receive(), waiting.receive()]
    assert [answer.packet_identifier for answer in answers] == [1, 2]  # type: ignore[union-attr]
    for client in (waiting, other):
        client.close()


@pytest.mark.parametrize("allowed", [True, False])
def test_a_will_is_asked_about_when_its_client_connects(start: Start, service: WebService, allowed: bool) -> None:
    service.answer = lambda asked: {"allow": allowed or asked.get("topic") != "will"}
    broker = start(anonymous=True, http={"url": service.url})
    watcher = connect(broker, "watcher")
    assert subscribe(watcher, "will", "end")[1:] == [0]
    assert subscribe(watcher, "#") == [0]
    doomed = connect(broker, "doomed", will=Will(b"will", b"gone"))
    asked = [request["topic"] for _, request in service.requests if request["action"] == "publish"]
    assert asked == ["will"]
    service.status = 500  # nobody can be asked when it is published
    doomed.socket.close()
    broker.wait_until(lambda: "doomed" not in broker.clients)
    service.status = 200
    watcher.send(Pingreq())
    packets = [watcher.receive()]
    while packets[-1] != Pingresp():
        packets.append(watcher.receive())
    assert [packet.topic for packet in packets if isinstance(packet, Publish)] == ([b"will"] if allowed else [])
    watcher.close()


def test_an_answer_is_asked_for_anew_when_it_is_too_old(
    start: Start, service: WebService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "SWEEP_S", 0.01)
    service.body = b'{"allow": true}'
    broker = start(anonymous=True, http={"url": service.url, "cache_s": 60})
    now = 0.0
    call_out = broker._broker.server.access.policy.call_out
    assert call_out is not None
    call_out._clock = lambda: now
    with connect(broker, "c") as client:
        assert publish(client, "t") == 0x10
        service.body = b'{"allow": false}'
        assert publish(client, "t") == 0x10
        now = 60.0
        while publish(client, "t") != 0x87:  # until the next sweep
            assert len(service.requests) == 1
    assert len(service.requests) == 2


# -- SCRAM


def by_scram(broker: BrokerThread, user_name: str, password: str) -> tidewire.Client:
    return tidewire.Client(broker.url, authentication=tidewire.scram(user_name, password), client_id="s", version="5.0")


def test_a_client_proves_its_password_without_showing_it_and_may_do_so_again(start: Start, passwords: str) -> None:
    broker = start(password_file=passwords, rules=[{"effect": "allow", "topic": "#", "user": "scarlet"}])

    async def program() -> None:
        async with by_scram(broker, "scarlet", "secret") as client:
            await client.publish("t", b"x", qos=1)
            await client.reauthenticate()
            await client.publish("t", b"y", qos=1)

    asyncio.run(program())
    assert [message.payload for message in broker.received] == [b"x", b"y"]


@pytest.mark.parametrize("allowed", [True, False])
def test_the_will_of_a_client_that_proves_its_password_so_is_asked_about_too(
    start: Start, passwords: str, service: WebService, allowed: bool
) -> None:
    service.answer = lambda asked: {"allow": allowed or asked.get("topic") != "will"}
    broker = start(password_file=passwords, http={"url": service.url, "authenticate": False})

    async def program() -> None:
        authentication = tidewire.scram("scarlet", "secret")
        will = tidewire.Will("will", b"gone")
        async with tidewire.Client(
            broker.url, authentication=authentication, client_id="s", version="5.0", will=will
        ) as client:
            asked = [request["topic"] for _, request in service.requests if request["action"] == "publish"]
            assert asked == ["will"]
            await client.publish("t", b"x", qos=1)
            service.status = 500  # nobody can be asked when it is published
            await client.disconnect(reason_code=0x04)
        await asyncio.to_thread(broker.wait_until, lambda: not broker.clients)

    asyncio.run(program())
    assert [message.topic for message in broker.received] == (["t", "will"] if allowed else ["t"])


@pytest.mark.parametrize(("user_name", "password"), [("scarlet", "wrong"), ("alice", "secret"), ("nobody", "secret")])
def test_who_cannot_prove_it_by_scram_stays_outside(
    start: Start, passwords: str, user_name: str, password: str
) -> None:
    broker = start(password_file=passwords)

    async def program() -> None:
        async with by_scram(broker, user_name, password):
            raise AssertionError("it was let in")

    with pytest.raises(tidewire.ConnectionRefused) as raised:
        asyncio.run(program())
    assert raised.value.reason_code == 0x87
    assert broker.clients == []


def test_wrong_proofs_make_their_address_wait_too(start: Start, passwords: str) -> None:
    broker = start(password_file=passwords, attempts=1)

    async def program(password: str) -> None:
        async with by_scram(broker, "scarlet", password):
            pass

    for password in ("wrong", "secret"):
        with pytest.raises(tidewire.ConnectionRefused):
            asyncio.run(program(password))
    assert code_of(broker, "alice", b"secret") == ReasonCode.CONNECTION_RATE_EXCEEDED


# -- certificates and functions


def test_a_certificate_names_its_client_whatever_the_client_says(
    start: Start, passwords: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ClientProtocol.connection_made

    def with_certificate(protocol: ClientProtocol, transport: asyncio.BaseTransport) -> None:
        made(protocol, transport)
        protocol.connection.certificate = Certificate("board-7", (), "00", identity)

    monkeypatch.setattr(ClientProtocol, "connection_made", with_certificate)
    broker = start(password_file=passwords, rules=[{"effect": "allow", "topic": "boards/%u/#"}])
    identity = "board-7"
    with connect(broker, "c", user_name="alice", password=b"wrong") as client:
        assert publish(client, "boards/board-7/x") == 0x10
        assert publish(client, "boards/alice/x") == 0x87
    identity = ""  # the listener does not go by it
    assert code_of(broker, "alice", b"wrong") == 0x86


def test_functions_come_after_the_rules_and_cannot_widen_them(start: Start, passwords: str) -> None:
    seen: list[str] = []

    def on_publish(request: PublishRequest) -> None:
        seen.append(request.topic)

    hooks = {"on_connect": lambda request: "carol" if request.user_name is None else None, "on_publish": on_publish}
    broker = start(
        hooks,
        anonymous=True,
        password_file=passwords,
        rules=[{"effect": "allow", "topic": "people/%u"}],
    )
    with connect(broker, "c") as client:  # for whom the function vouches
        assert [publish(client, topic) for topic in ("people/carol", "people/alice")] == [0x10, 0x87]
    with connect(broker, "c", user_name="alice", password=b"secret") as client:
        assert [publish(client, topic) for topic in ("people/carol", "people/alice")] == [0x87, 0x10]
    assert seen == ["people/carol", "people/alice"]


def test_the_rights_of_a_token_stay_beside_functions(start: Start, secret: dict[str, Any]) -> None:
    broker = start({"on_connect": lambda request: None}, jwt=secret)
    client = connect(broker, "c", password=token(publish="t"))
    assert publish(client, "t") == 0x10
    broker.clock.advance(601)
    assert isinstance(client.receive(), Disconnect)
    client.close()


def test_an_access_list_that_is_empty_allows_nothing(start: Start, tmp_path: Path) -> None:
    (tmp_path / "acl").write_text("")
    with connect(start(acl_file=str(tmp_path / "acl")), "c") as client:
        assert publish(client, "t") == 0x87
        assert subscribe(client, "t", "#", "$SYS/#") == [0x87] * 3
