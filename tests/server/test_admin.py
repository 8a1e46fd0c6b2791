"""Does the administration say what is so, and do what it says?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from inspect import isawaitable
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.administered import START, Setup, administered, run
from tidewire.access import hashes
from tidewire.access.passwords import set_password
from tidewire.server.access_config import AccessConfig, JwtConfig, RuleConfig
from tidewire.server.admin import LISTED, Admin, AdminFault
from tidewire.server.admin_types import MessageProperties, Viewer
from tidewire.server.config import Config, make_access
from tidewire.server.meter_config import BudgetConfig, MeterConfig
from tidewire.server.verification import LOG_INS
from tidewire.wire.codes import ReasonCode
from tidewire.wire.packets import Disconnect, Publish, Subscribe, SubscriptionRequest, Will
from tidewire.wire.properties import SESSION_EXPIRY_INTERVAL, Properties
from tidewire.wire.topics import matches

NAMES = st.lists(st.text("abcé/", min_size=1, max_size=3), unique=True, min_size=1, max_size=12)
LEVELS = st.lists(st.sampled_from(["a", "b", "é", ""]), min_size=1, max_size=3)
TOPICS = LEVELS.map("/".join).filter(bool)
FILTERS = st.lists(st.sampled_from(["a", "b", "+"]), max_size=2).flatmap(
    lambda levels: st.sampled_from(["/".join([*levels, "#"]), "/".join(levels) or "a"])
)
RULES = AccessConfig(
    rules=[
        RuleConfig("allow", "open/#"),
        RuleConfig("allow", "alice/#", user="alice"),
    ]
)


def lasting(seconds: int) -> Properties:
    """The properties of a CONNECT whose session outlives it."""
    properties = Properties()
    properties.integers[SESSION_EXPIRY_INTERVAL] = seconds
    return properties


async def pages(page: Callable[[str], Any], name: Callable[[Any], str]) -> list[Any]:
    """All pages of a listing, one after the other."""
    found: list[Any] = []
    while entries := await settled(page(name(found[-1]) if found else "")):
        found += entries
    return found


async def settled(answer: Any) -> Any:
    """Of a call that takes its time, too."""
    return await answer if isawaitable(answer) else answer


# -- laws


@settings(max_examples=30, deadline=None)
@given(names=NAMES, limit=st.integers(1, 5), order=st.sampled_from(["name", "dropped", "subscriptions", "active"]))
def test_the_pages_of_clients_are_the_whole_listing(names: list[str], limit: int, order: str) -> None:
    async def check() -> None:
        async with administered() as setup:
            for number, name in enumerate(names):
                client = setup.client(name)
                requests = [SubscriptionRequest(b"%d" % each) for each in range(number % 3)]
                if requests:
                    client.send(Subscribe(1, requests))
                setup.clock.now += number % 2
            whole = setup.admin.clients(limit=LISTED, order=order)
            assert sorted(info.client_identifier for info in whole) == sorted(names)
            paged = await pages(
                lambda after: setup.admin.clients(after=after, limit=limit, order=order),
                lambda info: info.client_identifier,
            )
            assert paged == whole

    run(check())


@settings(max_examples=30, deadline=None)
@given(topics=st.lists(TOPICS, unique=True, max_size=12), topic_filter=FILTERS, limit=st.integers(1, 5))
def test_the_pages_of_retained_messages_are_those_that_match(topics: list[str], topic_filter: str, limit: int) -> None:
    async def check() -> None:
        async with administered() as setup:
            for topic in topics:
                setup.admin.publish(topic, b"kept", retain=True)
            paged = await pages(
                lambda after: setup.admin.retained(topic_filter, after=after, limit=limit), lambda info: info.topic
            )
            expected = {topic.encode() for topic in topics if matches(topic_filter.encode(), topic.encode())}
            assert [info.topic.encode() for info in paged] == sorted(expected)

    run(check())


@settings(max_examples=30, deadline=None)
@given(
    messages=st.dictionaries(TOPICS, st.sampled_from([b"on", b"off", b"\xff\0"]), max_size=12),
    topic_filter=FILTERS,
    contains=st.sampled_from([b"", b"o", b"off", b"\0"]),
)
def test_a_dry_run_says_what_the_deletion_then_does(
    messages: dict[str, bytes], topic_filter: str, contains: bytes
) -> None:
    async def check() -> None:
        async with administered() as setup:
            for topic, payload in messages.items():
                setup.admin.publish(topic, payload, retain=True)
            before = {info.topic: info for info in await setup.admin.retained()}
            said = await setup.admin.delete_retained(topic_filter, contains)
            assert await setup.admin.retained() == list(before.values())  # nothing has happened yet
            done = await setup.admin.delete_retained(topic_filter, contains, dry_run=False)
            assert (done.count, done.bytes, done.topics) == (said.count, said.bytes, said.topics)
            left = {info.topic for info in await setup.admin.retained()}
            gone = {
                topic
                for topic, payload in messages.items()
                if matches(topic_filter.encode(), topic.encode()) and contains in payload
            }
            assert left == set(messages) - gone
            assert (done.count, set(done.topics)) == (len(gone), gone)

    run(check())


# -- clients


def test_a_client_is_shown_with_what_is_kept_for_it() -> None:
    async def check() -> None:
        async with administered(limits={"inflight_maximum": 1}) as setup:
            will = Will(b"gone", b"bye", 1)
            setup.clock.now += 5
            client = setup.client("lamp", clean_start=True, keep_alive=30, will=will, properties=lasting(60))
            client.send(Subscribe(1, [SubscriptionRequest(b"a/#", 1, no_local=True)]))
            for number in range(3):
                setup.admin.publish("a/b", b"%d" % number, qos=1, properties=MessageProperties(content_type="text"))
            detail = setup.admin.client("lamp")
            assert detail is not None
            info = detail.info
            assert (info.version, info.connected, info.since, info.address) == (
                "5.0", True, START + 5, "192.0.2.7:4711",
            )  # fmt: skip
            assert (info.keep_alive_s, info.expires_s, info.inflight, info.queue_messages) == (30, 60, 1, 2)
            (subscription,) = detail.subscriptions
            assert (subscription.topic_filter, subscription.qos, subscription.no_local) == ("a/#", 1, True)
            assert [(each.topic, each.payload) for each in detail.queue] == [("a/b", b"1"), ("a/b", b"2")]
            assert detail.queue[0].properties == MessageProperties(content_type="text")
            assert detail.will is not None
            assert (detail.will.topic, detail.will.payload, detail.will.qos) == ("gone", b"bye", 1)
            setup.clock.now += 10
            client.leave()
            setup.clock.now += 20
            (info,) = setup.admin.clients()
            assert (info.connected, info.since, info.expires_s, info.version) == (False, START + 15, 40, "")

    run(check())


def test_a_client_that_is_kicked_is_told_and_keeps_its_session() -> None:
    async def check() -> None:
        async with administered() as setup:
            client = setup.client("lamp", properties=lasting(60))
            assert setup.admin.kick("lamp")
            said = client.received[-1]
            assert isinstance(said, Disconnect)
            assert said.reason_code == ReasonCode.ADMINISTRATIVE_ACTION
            assert [info.connected for info in setup.admin.clients()] == [False]
            assert not setup.admin.kick("lamp")

    run(check())


def test_a_session_that_is_cleared_is_gone_whether_its_client_is_there_or_not() -> None:
    async def check() -> None:
        async with administered() as setup:
            setup.client("there", properties=lasting(60)).send(Subscribe(1, [SubscriptionRequest(b"a")]))
            setup.client("away", properties=lasting(60)).leave()
            assert setup.admin.clear_session("there")
            assert setup.admin.clear_session("away")
            assert not setup.admin.clear_session("away")
            assert setup.admin.clients() == []
            assert setup.admin.overview().subscriptions == 0

    run(check())


def test_clients_are_found_by_identifier_user_and_address() -> None:
    async def check() -> None:
        async with administered() as setup:
            setup.client("lamp")
            setup.client("door")
            assert [info.client_identifier for info in setup.admin.clients("am")] == ["lamp"]
            assert len(setup.admin.clients("192.0.2.7")) == 2
            assert setup.admin.clients("nowhere") == []

    run(check())


# -- messages


def test_what_is_published_reaches_its_subscribers_and_is_retained_with_where_it_came_from() -> None:
    async def check() -> None:
        async with administered() as setup:
            reader = setup.client("reader")
            reader.send(Subscribe(1, [SubscriptionRequest(b"a/#", 1)]))
            properties = MessageProperties(
                content_type="text/plain",
                correlation_data=b"\0",
                message_expiry_interval_s=60,
                user_properties=[("k", "v"), ("k", "w")],
            )
            assert setup.admin.publish("a/b", b"x", qos=1, retain=True, properties=properties).reason_code == 0
            assert setup.admin.publish("nobody", b"x").reason == "no matching subscribers"
            message = reader.received[-1]
            assert isinstance(message, Publish)
            assert (message.topic, message.payload, message.qos) == (b"a/b", b"x", 1)
            (kept,) = await setup.admin.retained()
            assert (kept.payload, kept.qos, kept.expires_s, kept.published_at) == (b"x", 1, 60.0, START)
            assert kept.properties == MessageProperties(
                content_type="text/plain", correlation_data=b"\0", user_properties=[("k", "v"), ("k", "w")]
            )
            setup.client("lamp").send(Publish(b"a/c", b"y" * 100, retain=True))
            (kept,) = await setup.admin.retained("a/c", payload_bytes=10)
            assert (kept.publisher, kept.address, kept.payload, kept.payload_bytes) == (
                "lamp", "192.0.2.7:4711", b"y" * 10, 100,
            )  # fmt: skip

    run(check())


def test_a_subscriber_sees_that_a_retained_message_was_deleted() -> None:
    async def check() -> None:
        async with administered() as setup:
            reader = setup.client("reader")
            reader.send(Subscribe(1, [SubscriptionRequest(b"a", retain_as_published=True)]))
            setup.admin.publish("a", b"x", retain=True)
            await setup.admin.delete_retained("a", dry_run=False)
            message = reader.received[-1]
            assert isinstance(message, Publish)
            assert (message.topic, message.payload, message.retain) == (b"a", b"", True)

    run(check())


def test_a_viewer_sees_and_publishes_what_the_rules_let_that_user() -> None:
    async def check() -> None:
        async with administered(access=RULES) as setup:
            for topic in ("open/a", "alice/a", "secret"):
                assert setup.admin.publish(topic, b"x", retain=True).reason_code == 16  # the operator may
            seen = {user: await topics_of(setup, Viewer(user)) for user in ("alice", "bob", None)}
            assert seen == {"alice": ["alice/a", "open/a"], "bob": ["open/a"], None: ["open/a"]}
            assert await topics_of(setup, None) == ["alice/a", "open/a", "secret"]
            assert setup.admin.publish("alice/a", viewer=Viewer("bob")).reason_code == ReasonCode.NOT_AUTHORIZED
            assert setup.admin.publish("alice/a", viewer=Viewer("alice")).reason_code == 16
            with pytest.raises(AdminFault, match="do not let bob subscribe to secret"):
                setup.admin.watch_topics("secret", Viewer("bob"))

    run(check())


async def topics_of(setup: Setup, viewer: Viewer | None) -> list[str]:
    return [info.topic for info in await setup.admin.retained(viewer=viewer)]


def test_whose_user_and_which_address_is_an_operators_business() -> None:
    async def check() -> None:
        async with administered() as setup:
            setup.client("lamp", user_name="ann").send(Publish(b"open/a", b"x", 0, True))
            (all_of_it,) = await setup.admin.retained()
            assert (all_of_it.publisher, all_of_it.address) == ("lamp", "192.0.2.7:4711")
            (for_others,) = await setup.admin.retained(viewer=Viewer())
            assert (for_others.publisher, for_others.user, for_others.address) == ("lamp", None, "")

    run(check())


# -- the broker


def test_rates_are_of_the_last_second() -> None:
    async def check() -> None:
        async with administered() as setup:
            client = setup.client("lamp")
            setup.clock.now += 1
            setup.server.tick(setup.clock.now)
            client.send(*[Publish(b"a", b"x")] * 10)
            setup.clock.now += 2
            setup.server.tick(setup.clock.now)
            overview = setup.admin.overview()
            assert (overview.rates.messages_in, overview.totals.messages_in) == (5.0, 10)
            assert overview.rates.bytes_in == 10 * len(Publish(b"a", b"x").encode(5)) / 2
            setup.clock.now += 1
            setup.server.tick(setup.clock.now)
            assert setup.admin.overview().rates.messages_in == 0.0

    run(check())


def test_what_waits_and_what_was_dropped_is_in_the_overview() -> None:
    async def check() -> None:
        async with administered(limits={"queue_messages": 2}) as setup:
            client = setup.client("lamp", properties=lasting(60))
            client.send(Subscribe(1, [SubscriptionRequest(b"a", 1)]))
            client.leave()
            for _ in range(5):
                setup.admin.publish("a", b"12345", qos=1)
            overview = setup.admin.overview()
            assert (overview.connections, overview.sessions, overview.subscriptions) == (0, 1, 1)
            assert (overview.queued_messages, overview.queued_bytes, overview.drops["queue full"]) == (2, 12, 3)
            assert (overview.now, overview.store, overview.listeners) == (START, "none", [])

    run(check())


def test_the_broker_s_own_retained_messages_are_counted_apart() -> None:
    async def check() -> None:
        async with administered() as setup:
            setup.client("lamp").send(Publish(b"a", b"12345", retain=True))
            before = setup.admin.overview()
            assert (before.retained_messages, before.sys_messages, before.sys_bytes) == (1, 0, 0)
            setup.server.broker.publish_sys(setup.clock.now)
            overview = setup.admin.overview()
            assert (overview.retained_messages, overview.retained_bytes) == (1, before.retained_bytes)
            retained = setup.server.broker.retained
            assert overview.sys_messages == retained.count - 1 > 0
            assert overview.sys_bytes == retained.bytes - before.retained_bytes > 0

    run(check())


def test_the_vitals_are_those_of_the_overview() -> None:
    async def check() -> None:
        async with administered() as setup:
            setup.client("lamp").send(Publish(b"a", b"x"))
            overview, vitals = setup.admin.overview(), setup.admin.vitals()
            assert (vitals.totals, vitals.cpu_share) == (overview.totals, overview.cpu_share)
            assert vitals.memory_bytes > 0

    run(check())


def test_the_administration_of_a_broker_that_is_no_longer_wanted_costs_nothing() -> None:
    async def check() -> None:
        async with administered() as setup:
            setup.admin = Admin(setup.server)  # the first one is let go
            setup.server.tick(setup.clock.now)
            assert len(setup.server.at_tick) == 1

    run(check())


def test_a_broker_that_a_program_started_has_no_configuration_to_read_again() -> None:
    async def check() -> None:
        async with administered() as setup:
            with pytest.raises(AdminFault, match="no configuration file"):
                await setup.admin.reload()

    run(check())


def test_the_configuration_is_read_again_and_what_has_to_wait_is_said() -> None:
    async def check() -> None:
        async with administered(unix_socket=None) as setup:
            setup.server.read_again = lambda: Config(
                port=0, backlog=7, limits={"queue_messages": 3, "sys_interval_s": 0}
            )
            waiting = await setup.admin.reload()
            assert waiting == ["backlog = 7: open listeners keep 1024"]
            assert setup.server.broker.limits.queue_messages == 3

    run(check())


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (lambda admin: admin.clients(limit=0), "limit=0 is not between 1 and 1000"),
        (lambda admin: admin.clients(order="age"), "order='age' is not known; give one of name, active, queue"),
        (lambda admin: admin.clients(order="queue", after="gone"), "begin with the first page"),
        (lambda admin: admin.retained("a#"), "# must be the whole last level"),
        (lambda admin: admin.retained("$share/g/a"), "is a shared subscription; give its filter alone"),
        (lambda admin: admin.delete_retained(""), "at least one character"),
        (lambda admin: admin.kick("lamp", 0), "reason_code=0 does not end a connection; give one of 0x80"),
        (lambda admin: admin.publish("a/+"), r"cannot publish to 'a/\+'"),
        (lambda admin: admin.publish("$SYS/x"), "the broker's own"),
        (lambda admin: admin.publish("a", qos=3), "QoS must be 0, 1 or 2"),
        (lambda admin: admin.meters(period="year"), "period='year' is not known; give day or month"),
        (lambda admin: admin.watch_packets(""), "give the client identifier"),
        (lambda admin: admin.watch_topics("+a"), r"\+ must be a whole level"),
    ],
)
def test_what_is_asked_wrongly_is_refused_in_one_line(ask: Callable[[Admin], Any], answer: str) -> None:
    async def check() -> None:
        async with administered() as setup:
            with pytest.raises(AdminFault, match=answer) as fault:
                await settled(ask(setup.admin))
            assert "\n" not in str(fault.value)

    run(check())


# -- budgets


def test_budgets_say_how_far_they_are_used_the_fullest_first() -> None:
    async def check() -> None:
        budgets = [
            BudgetConfig("each", 1000, clients="sensor-*", counts="payload"),
            BudgetConfig("all", 500, clients="sensor-*", counts="payload", together=True, action="refuse"),
        ]
        async with administered(meter=MeterConfig(budgets=budgets)) as setup:
            for name, size in (("sensor-1", 100), ("sensor-2", 300), ("other", 7)):
                setup.client(name).send(Publish(b"t", bytes(size)))
            found = setup.admin.budgets()
            assert [(info.name, info.client_identifier, info.used_bytes, info.limit_bytes) for info in found] == [
                ("all", "", 400, 500),
                ("each", "sensor-2", 300, 1000),
                ("each", "sensor-1", 100, 1000),
            ]
            assert [info.action for info in found] == ["refuse", "warn", "warn"]
            assert setup.admin.budgets(limit=1) == found[:1]

    run(check())


# -- who looks


def test_who_signs_in_is_who_the_password_file_knows(tmp_path: Path) -> None:
    users = tmp_path / "users"
    set_password(users, "ann", b"spring tide")

    async def check() -> None:
        access = AccessConfig(password_file=str(users), attempts=2)
        async with administered(access=access) as setup:
            assert setup.admin.has_users()
            assert await setup.admin.sign_in("ann", "spring tide", "192.0.2.7:1") == Viewer("ann")
            for name, password in (("ann", "neap tide"), ("bob", "spring tide")):
                assert await setup.admin.sign_in(name, password, "192.0.2.7:1") == "User or password is wrong."
            refused = await setup.admin.sign_in("ann", "spring tide", "192.0.2.7:2")
            assert refused == "There were too many wrong passwords from this address; wait a while."
            assert await setup.admin.sign_in("ann", "spring tide", "192.0.2.8:1") == Viewer("ann")

    run(check())


WRONG = "User or password is wrong."
BUSY = "Others are logging in just now; try again in a moment."


def test_who_asks_often_at_once_has_one_guess_and_all_together_have_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "ARGON2_MEMORY_KIB", 64)
    monkeypatch.setattr(hashes, "ARGON2_PASSES", 1)
    set_password(tmp_path / "users", "ann", b"spring tide")

    async def check() -> None:
        async with administered(access=AccessConfig(password_file=str(tmp_path / "users"), attempts=3)) as setup:

            async def asked(*peers: str) -> list[Viewer | str]:
                return [*await asyncio.gather(*(setup.admin.sign_in("ann", "neap tide", peer) for peer in peers))]

            assert await asked(*["192.0.2.7:1"] * 20) == [WRONG] + [BUSY] * 19
            others = await asked(*(f"192.0.2.{number}:1" for number in range(20, 40)))
            assert others == [WRONG] * LOG_INS + [BUSY] * (20 - LOG_INS)
            network = await asked(*(f"[2001:db8::{number}]:1" for number in range(5)))  # one customer's
            assert network[:3] == [WRONG] * 3 and WRONG not in network[3:]
            assert isinstance(await setup.admin.sign_in("ann", "spring tide", "192.0.2.7:1"), Viewer)

    run(check())


def test_a_log_in_that_a_new_policy_overtakes_has_to_be_repeated(tmp_path: Path) -> None:
    set_password(tmp_path / "users", "ann", b"spring tide")

    async def check() -> None:
        async with administered(access=AccessConfig(password_file=str(tmp_path / "users"))) as setup:
            asking = asyncio.create_task(setup.admin.sign_in("ann", "spring tide", "192.0.2.7:1"))
            await asyncio.sleep(0)  # it has begun
            setup.server.access.adopt(make_access(setup.server.config))
            assert await asking == BUSY
            assert await setup.admin.sign_in("ann", "spring tide", "192.0.2.7:1") == Viewer("ann")

    run(check())


def test_who_shows_a_token_looks_until_it_expires(tmp_path: Path) -> None:
    secret = b"0123456789abcdef0123456789abcdef"
    (tmp_path / "secret").write_bytes(secret)
    token = jwt.encode({"sub": "ann", "exp": int(time.time()) + 600}, secret, "HS256")

    async def check() -> None:
        access = AccessConfig(jwt=JwtConfig(secret_file=str(tmp_path / "secret"), leeway_s=0))
        async with administered(access=access) as setup:
            viewer = await setup.admin.sign_in("", token, "192.0.2.7:1")
            assert isinstance(viewer, Viewer) and viewer.user_name == "ann"
            assert 0.0 < viewer.expires_at - setup.clock.now <= 600.0

    run(check())


def test_without_users_everybody_is_an_operator_unless_rules_restrict_them() -> None:
    async def check() -> None:
        async with administered() as setup:
            assert (setup.admin.has_users(), setup.admin.nobody()) == (False, None)
        async with administered(access=RULES) as setup:
            assert (setup.admin.has_users(), setup.admin.nobody()) == (False, Viewer())

    run(check())
