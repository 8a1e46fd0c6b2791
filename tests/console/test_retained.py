"""Is what is retained found, shown with where it comes from, exported, and deleted only after a look at what it is?"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("nicegui", reason="the extra console is not installed")

from tests.console.looking import Console
from tidewire.console.retained import export as retained_export
from tidewire.console.retained.page import PAGE_ROWS
from tidewire.server.admin import LISTED, Admin
from tidewire.server.admin_types import MessageProperties, RetainedInfo
from tidewire.sync import Client


def info(topic: str, payload: bytes = b"") -> RetainedInfo:
    return RetainedInfo(
        topic=topic,
        payload=payload,
        payload_bytes=len(payload),
        qos=1,
        properties=MessageProperties(content_type="text/plain"),
        expires_s=None,
        publisher="meter",
        user=None,
        address="10.0.0.1",
        published_at=1_700_000_000.0,
    )


# -- export


@given(st.text(st.characters(exclude_categories=["Cs"])), st.binary())
def test_a_line_of_the_export_has_the_topic_and_the_payload_as_they_were(topic: str, payload: bytes) -> None:
    line = retained_export.line(info(topic, payload))
    assert line.count(b"\n") == 1
    read = json.loads(line)
    again = read["text"].encode() if "text" in read else base64.b64decode(read["base64"])
    assert (read["topic"], again, read["at"]) == (topic, payload, "2023-11-14T22:13:20.000+00:00")


class FakeAdmin:
    """Has so many retained messages."""

    def __init__(self, count: int, payload: bytes = b"") -> None:
        self.topics = [f"{number:06}" for number in range(count)]
        self.payload = payload

    async def retained(
        self, topic_filter: str, contains: bytes, after: str, *, limit: int, **_: Any
    ) -> list[RetainedInfo]:
        later = [topic for topic in self.topics if topic > after]
        return [info(topic, self.payload) for topic in later[:limit]]


def exported(admin: FakeAdmin) -> tuple[bytes, int, bool]:
    return asyncio.run(retained_export.exported(cast(Admin, admin), "#", b"", None))


@pytest.mark.parametrize("count", [0, 1, LISTED, LISTED + 1, retained_export.ROWS])
def test_all_messages_are_exported_in_the_order_of_their_topics(count: int) -> None:
    admin = FakeAdmin(count)
    data, told, is_all = exported(admin)
    assert [json.loads(line)["topic"] for line in data.splitlines()] == admin.topics
    assert (told, is_all) == (count, True)


def test_the_export_is_bounded_in_messages_and_in_bytes() -> None:
    assert exported(FakeAdmin(retained_export.ROWS + 1))[1:] == (retained_export.ROWS, False)
    data, count, is_all = exported(FakeAdmin(10, b"x" * (retained_export.FILE_BYTES // 4)))
    assert (count, is_all) == (4, False)
    assert len(data) < retained_export.FILE_BYTES * 1.5


# -- the page


@pytest.fixture(scope="module")
def client(console: Console) -> Iterator[Client]:
    with Client(f"mqtt://127.0.0.1:{console.mqtt_port}", client_id="boiler-room") as client:
        yield client


@pytest.fixture(scope="module")
def context(console: Console) -> Iterator[Any]:
    """A browser that has the page's files already."""
    context = console.open("/retained").context
    yield context
    context.close()


def opened(console: Console, topic_filter: str, **how: Any) -> Any:
    """Without movement, so that what is looked at is at its end."""
    page = console.open("/retained", **how)
    page.emulate_media(reduced_motion="reduce")
    page.get_by_label("Topic filter").fill(topic_filter)
    page.get_by_role("button", name="Show").click()
    return page


def topics(page: Any) -> Any:
    return page.get_by_role("region", name="Retained messages").get_by_role("button")


@pytest.mark.parametrize(("dark", "phone"), [(False, False), (True, True)])
def test_a_message_is_found_and_says_where_it_comes_from(
    console: Console, client: Client, dark: bool, phone: bool
) -> None:
    client.publish("house/boiler", {"celsius": 61.5, "pump": True}, qos=1, retain=True, content_type="application/json")
    client.publish("house/door", "closed", qos=1, retain=True, message_expiry=3600)
    client.publish("house/door/<b>", bytes(range(200, 256)), qos=1, retain=True)
    page = opened(console, "house/#", dark=dark, phone=phone)
    page.get_by_text("3 messages").wait_for()
    assert topics(page).all_inner_texts() == ["house/boiler", "house/door", "house/door/<b>"]
    assert page.get_by_role("cell", name="boiler-room").count() == 3
    suffix = f"{'-dark' if dark else ''}{'-phone' if phone else ''}"
    console.shot(page, f"retained{suffix}")
    console.check_accessibility(page)
    page.get_by_label("Text in the payload").fill("celsius")
    page.keyboard.press("Enter")
    page.get_by_text("One message").wait_for()
    topics(page).click()
    dialog = page.get_by_role("dialog", name="house/boiler")
    dialog.get_by_text('"celsius": 61.5').wait_for()
    for fact in ("boiler-room", "application/json", "127.0.0.1"):
        dialog.get_by_text(fact).first.wait_for()
    console.shot(page, f"retained-one{suffix}")
    console.check_accessibility(page)
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert not page.locator(".q-layout").evaluate("layout => layout.inert")
    page.context.close()


def test_there_are_pages_and_a_way_back(console: Console, client: Client, context: Any) -> None:
    for number in range(PAGE_ROWS + 3):
        client.publish(f"many/{number:03}", "x", qos=1, retain=True)
    page = opened(console, "many/#", context=context)
    page.get_by_text(f"Page 1: {PAGE_ROWS} messages, and there are more").wait_for()
    page.get_by_role("button", name="Next", exact=True).click()
    page.get_by_text("Page 2: 3 messages").wait_for()
    assert topics(page).all_inner_texts() == [f"many/{PAGE_ROWS + number:03}" for number in range(3)]
    assert page.get_by_role("button", name="Next", exact=True).is_disabled()
    page.get_by_role("button", name="Back", exact=True).click()
    topics(page).get_by_text("many/000").wait_for()
    page.close()


def test_one_message_is_deleted_when_that_is_meant(console: Console, client: Client, context: Any) -> None:
    client.publish("one/only", "1", qos=1, retain=True)
    page = opened(console, "one/#", context=context)
    page.get_by_text("One message").wait_for()
    topics(page).click()
    page.get_by_role("dialog", name="one/only").get_by_role("button", name="Delete").click()
    question = page.get_by_role("dialog", name="Delete this retained message?")
    question.get_by_text("one/only, 1 B").wait_for()
    console.check_accessibility(page)
    question.get_by_role("button", name="Delete").click()
    page.get_by_text("Nothing that is retained matches this.").wait_for()
    page.close()


def test_many_are_deleted_after_a_preview_that_says_which(console: Console, client: Client, context: Any) -> None:
    for number in range(25):
        client.publish(f"old/{number:02}", "on" if number < 22 else "off", qos=1, retain=True)
    page = opened(console, "old/+", context=context)
    page.get_by_label("Text in the payload").fill("on")
    page.get_by_role("button", name="Delete all that match").click()
    dialog = page.get_by_role("dialog", name="Delete 22 messages?")
    dialog.get_by_text("match old/+ and contain “on”").wait_for()
    dialog.get_by_text("… and 2 more").wait_for()
    assert dialog.get_by_role("listitem").first.inner_text() == "old/00"
    console.shot(page, "retained-delete")
    console.check_accessibility(page)
    dialog.get_by_role("button", name="Cancel").click()
    dialog.wait_for(state="detached")
    page.get_by_role("button", name="Delete all that match").click()
    dialog.get_by_role("button", name="Delete").click()
    page.get_by_text("22 messages deleted").wait_for()
    page.get_by_label("Text in the payload").fill("")
    page.get_by_role("button", name="Show").click()
    page.get_by_text("3 messages", exact=True).wait_for()
    page.close()


def test_to_delete_everything_the_number_is_typed_in(console: Console, client: Client, context: Any) -> None:
    client.publish("last/one", "1", qos=1, retain=True)
    page = opened(console, "#", context=context)
    page.get_by_role("button", name="Delete all that match").click()
    dialog = page.get_by_role("dialog", name="Delete")
    delete = dialog.get_by_role("button", name="Delete")
    word = dialog.get_by_role("textbox")
    word.wait_for()
    assert delete.is_disabled()
    console.check_accessibility(page)
    asked = str(dialog.get_by_text("Type ").inner_text())
    word.fill(asked.removeprefix("Type ").removesuffix(" to go on"))
    delete.click()
    page.get_by_text("Nothing that is retained matches this.").wait_for()
    page.close()


def test_what_is_found_is_exported(console: Console, client: Client, context: Any) -> None:
    client.publish("out/a", "é", qos=1, retain=True)
    client.publish("out/b", b"\xff", qos=1, retain=True)
    page = opened(console, "out/#", context=context)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as NDJSON").click()
    lines = [json.loads(line) for line in download.value.path().read_bytes().splitlines()]
    assert [(line["topic"], line.get("text"), line.get("base64")) for line in lines] == [
        ("out/a", "é", None),
        ("out/b", None, "/w=="),
    ]
    assert lines[0]["publisher"] == "boiler-room"
    page.close()


def test_a_wrong_filter_is_said_in_one_line(console: Console, context: Any) -> None:
    page = opened(console, "a/#/b", context=context)
    page.get_by_role("alert").get_by_text("#").wait_for()
    page.close()
