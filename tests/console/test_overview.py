"""Does somebody see how the broker is, and does a newcomer find the first steps?"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast

import pytest

pytest.importorskip("nicegui", reason="the extra console is not installed")

from tests.console.looking import Console
from tests.process import tidewire
from tidewire import PublishError
from tidewire.console.overview.hints import HINTS
from tidewire.console.overview.history import SECONDS, History
from tidewire.console.overview.steps import where
from tidewire.engine.ledger import REASONS
from tidewire.server.admin import Admin
from tidewire.server.admin_types import Flow, ListenerInfo, Overview, Vitals
from tidewire.sync import Client

QUEUE_MESSAGES = 100
"""Of one session, so that a test can fill its queue."""

LINE = 'path[stroke="var(--tide)"]'


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    config = tmp_path_factory.mktemp("overview") / "broker.toml"
    config.write_text(f"[limits]\nqueue_messages = {QUEUE_MESSAGES}\n")
    with Console("--memory", "--config", config) as console:
        yield console


class FakeAdmin:
    """Counts as it is told to."""

    def __init__(self) -> None:
        self.messages = 0

    def overview(self) -> Overview:
        return Overview(
            version="1", form="pure", now=0, uptime_s=0, connections=0, sessions=0, subscriptions=0,
            retained_messages=0, retained_bytes=0, queued_messages=0, queued_bytes=0,
            totals=Flow(messages_in=self.messages), rates=Flow(), drops={}, cpu_share=0.5, memory_bytes=7,
            store="none", listeners=[], bridges=[],
        )  # fmt: skip

    def vitals(self) -> Vitals:
        return Vitals(totals=Flow(messages_in=self.messages), cpu_share=0.5, memory_bytes=7)

    def clients(self, limit: int, order: str) -> list[Any]:
        return []


class Clock:
    """Stands where it is put."""

    def __init__(self) -> None:
        self.now = 1000.5

    def __call__(self) -> float:
        return self.now


def looked_at(seconds: list[int]) -> tuple[History, FakeAdmin]:
    """A history that was told the time in these seconds, since each of which ten messages came; nobody looks."""
    admin, clock = FakeAdmin(), Clock()
    history = History(cast(Admin, admin), clock)
    for second in seconds:
        admin.messages += 10
        for quarter in range(4):
            clock.now = second + 0.5 + quarter / 8
            assert history.tick(clock.now)
    return history, admin


def test_a_rate_is_what_came_since_the_second_before() -> None:
    history, _ = looked_at([1001, 1003])
    assert [sample.messages_in for sample in history._samples] == [10, 5]


def test_every_second_has_its_point_also_while_nobody_looks() -> None:
    history, _ = looked_at([1001, 1002, 1003, 1004])
    (values,) = history.series("messages_in")
    assert (len(values), values[-5:]) == (SECONDS, [None, 10, 10, 10, 10])


def test_a_second_for_all_of_which_the_broker_was_held_up_is_a_gap() -> None:
    history, _ = looked_at([1001, 1003])
    (values,) = history.series("messages_in")
    assert values[-3:] == [10, None, 5]


def test_the_history_ends_after_its_five_minutes() -> None:
    history, _ = looked_at(list(range(1001, 1001 + 2 * SECONDS)))
    (values,) = history.series("memory_bytes")
    assert values == [7] * SECONDS
    assert len(history._samples) == SECONDS


def test_the_overview_is_looked_at_only_while_a_page_is_open() -> None:
    history, admin = looked_at([1001])

    def seen_after(now: float) -> float:
        admin.messages += 1
        history.tick(now)
        return history.latest.totals.messages_in

    assert seen_after(1002.5) == 0
    history.join()
    history.join()
    assert history.latest.totals.messages_in == 11
    history.leave()
    assert seen_after(1003.5) == 12
    history.leave()
    assert seen_after(1004.5) == 12


def test_every_reason_for_a_drop_has_its_hint() -> None:
    assert set(HINTS) == set(REASONS)


@pytest.mark.parametrize(
    ("urls", "options"),
    [
        (["mqtt://127.0.0.1:1883"], ""),
        (["mqtt://[::1]:1884"], " -p 1884"),
        (["mqtt://10.1.2.3:1883"], " -h 10.1.2.3"),
        (["unix:///run/tidewire.socket"], None),
    ],
)
def test_the_first_steps_lead_to_this_broker(urls: list[str], options: str | None) -> None:
    listener = ListenerInfo(name="", urls=urls, protocol="mqtt", tls=False, connections=0)
    assert where([listener]) == options


def test_a_newcomer_copies_the_command_and_sees_that_the_message_came(console: Console) -> None:
    page = console.open()
    page.get_by_role("heading", name="First steps").wait_for()
    commands = page.get_by_role("group", name="Command").all_inner_texts()
    assert f"-p {console.mqtt_port} " in commands[0]
    console.shot(page, "overview-first-steps")
    console.check_accessibility(page)
    assert tidewire(*shlex.split(commands[0])[1:]).returncode == 0
    page.get_by_text("The first message has come.").wait_for()
    assert page.get_by_role("link", name="See it under Topics").get_attribute("href") == "/topics"
    page.context.close()
    page = console.open()
    page.get_by_role("heading", name="Held now").wait_for()
    assert page.get_by_role("heading", name="First steps").count() == 0
    page.context.close()


@pytest.mark.parametrize(("dark", "phone"), [(False, False), (True, True)])
def test_rates_and_what_is_held_are_shown_as_they_change(console: Console, dark: bool, phone: bool) -> None:
    page = console.open("/", dark=dark, phone=phone)
    client = Client(f"mqtt://127.0.0.1:{console.mqtt_port}")
    with client, client.subscribe("rooms/#", qos=1) as stream:
        for number in range(50):
            client.publish(f"rooms/{number % 5}", "21.5", qos=1, retain=True)
        for _ in range(50):
            stream.get(timeout=30)
        page.get_by_text(re.compile(r"^[1-9]\d* in all$")).first.wait_for()
        chart = page.get_by_role("img", name="Messages a second, five minutes")
        chart.locator(LINE).first.wait_for(state="attached")
        chart.hover()
        chart.get_by_text("in: ").wait_for()
        assert chart.locator(LINE).count()
        console.shot(page, f"overview{'-dark' if dark else ''}{'-phone' if phone else ''}")
        console.check_accessibility(page)
    page.context.close()


def test_an_operator_sees_drops_with_a_hint_and_whose_they_are(console: Console) -> None:
    page = console.open()
    url = f"mqtt://127.0.0.1:{console.mqtt_port}"
    with Client(url, client_id="archive", clean_start=True, session_expiry=600) as archive:
        archive.subscribe("log/#", qos=1).open()
    with Client(url) as writer:
        for number in range(QUEUE_MESSAGES + 7):
            with suppress(PublishError):  # the queue is full: 0x97
                writer.publish("log/a", str(number), qos=1)
    drops = page.get_by_role("region", name="Drops by reason")
    drops.get_by_role("cell", name="queue full").wait_for()
    assert drops.get_by_text("queue_messages").is_visible()
    for table, figure in (("Largest queues", QUEUE_MESSAGES), ("Lost the most", 7)):
        region = page.get_by_role("region", name=table)
        region.get_by_role("cell", name="archive").wait_for()
        region.get_by_role("cell", name=str(figure), exact=True).wait_for()
    console.shot(page, "overview-drops")
    console.check_accessibility(page)
    page.context.close()
