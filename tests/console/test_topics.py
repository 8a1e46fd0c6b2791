"""Does somebody find a topic, see what it says and what it said, and take that away, with a mouse or with keys?"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.console.looking import Console
from tidewire.sync import Client


def png(width: int = 120, height: int = 60) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes((x + 3 * y) % 256 for x in range(3 * width)) for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def reading(temperature: float) -> bytes:
    return json.dumps({"temperature": temperature, "humidity": 45, "where": {"room": "cellar"}}).encode()


@pytest.fixture(scope="module")
def client(console: Console) -> Iterator[Client]:
    """Who has published a house, retained, before anybody looks."""
    with Client(f"mqtt://127.0.0.1:{console.mqtt_port}", client_id="house") as client:
        for topic, payload in {
            "house/cellar/climate": reading(11.5),
            "house/kitchen/climate": reading(21.0),
            "house/kitchen/lamp": b"on",
            "house/door/camera": png(),
            "house//<b>odd": b"<script>alert(1)</script>",
        }.items():
            client.publish(topic, payload, qos=1, retain=True)
        yield client


@pytest.fixture(scope="module")
def opened(console: Console, client: Client) -> Iterator[Any]:
    """One page for all tests that need no browser of their own."""
    page = console.open("/topics")
    yield page
    page.context.close()


@pytest.fixture
def page(opened: Any) -> Any:
    """The page as it is when it opens."""
    for label in ("Topic contains", "Value contains"):
        opened.get_by_label(label).fill("")
    for topic_filter in ("nothing", "#"):
        subscribe(opened, topic_filter)
        opened.get_by_text("0 topics" if topic_filter == "nothing" else "5 topics").wait_for()
    return opened


def subscribe(page: Any, topic_filter: str) -> None:
    page.get_by_role("textbox", name="Topic filter").fill(topic_filter)
    page.keyboard.press("Enter")


def row(page: Any, name: str) -> Any:
    """The row of the last level of a topic."""
    return page.get_by_role("row").filter(has=page.get_by_text(name, exact=True))


def test_the_tree_unfolds_and_shows_last_values_as_text(console: Console, page: Any) -> None:
    row(page, "lamp").get_by_text("on", exact=True).wait_for()
    row(page, "(empty)").wait_for()
    row(page, "<b>odd").get_by_text("<script>alert(1)</script>").wait_for()
    page.get_by_text("5 topics").wait_for()
    console.shot(page, "topics-tree")
    console.check_accessibility(page)


def test_a_value_that_changes_changes_in_its_row(page: Any, client: Client) -> None:
    row(page, "lamp").get_by_text("on", exact=True).wait_for()
    client.publish("house/kitchen/lamp", b"off", qos=1)
    row(page, "lamp").get_by_text("off", exact=True).wait_for()
    client.publish("house/kitchen/lamp", b"on", qos=1, retain=True)
    row(page, "lamp").get_by_text("on", exact=True).wait_for()


@pytest.mark.parametrize(("dark", "phone"), [(False, False), (True, False), (True, True)])
def test_a_topic_tells_its_value_its_source_and_its_past(
    console: Console, client: Client, dark: bool, phone: bool
) -> None:
    page = console.open("/topics", dark=dark, phone=phone)
    row(page, "climate").first.click()
    page.get_by_role("heading", name="house/cellar/climate").wait_for()
    page.get_by_text("published by house").wait_for()
    history = page.get_by_role("group", name="History")
    for number in (12.5, 13.5):
        client.publish("house/cellar/climate", reading(number), qos=1, retain=True)
        history.get_by_text(f'"temperature": {number}').first.wait_for()
    page.get_by_role("button", name="temperature: 13.5").click()
    page.get_by_role("img", name="The chosen numbers over time").get_by_text("temperature").wait_for()
    history.get_by_role("button").nth(0).click()
    history.get_by_role("button").nth(1).click()
    difference = page.get_by_role("group", name="Difference")
    difference.get_by_text('"temperature": 12.5').wait_for()
    difference.get_by_text('"temperature": 13.5').wait_for()
    name = f"topics-detail{'-dark' if dark else ''}{'-phone' if phone else ''}"
    console.shot(page, name)
    console.check_accessibility(page)
    page.get_by_role("button", name="Back to the topics").click()
    row(page, "lamp").wait_for()
    console.shot(page, f"{name}-back")
    page.context.close()


def test_another_decoder_is_chosen(page: Any) -> None:
    row(page, "lamp").click()
    page.get_by_text("As it looks: Text").wait_for()
    page.get_by_label("Decoded as").click()
    page.get_by_role("option", name="Hex").click()
    page.get_by_role("group", name="Value").get_by_text("6f 6e").wait_for()
    page.get_by_label("Decoded as").click()
    page.get_by_role("option", name="CBOR").click()
    page.get_by_text("Not CBOR: ").wait_for()


def test_an_image_is_shown_as_one(console: Console, page: Any) -> None:
    row(page, "camera").click()
    picture = page.get_by_role("img", name="The payload, as an image")
    picture.wait_for()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 120
    console.shot(page, "topics-image")


def test_topics_are_searched_for_by_name_and_by_value(console: Console, page: Any) -> None:
    page.get_by_label("Topic contains").fill("KITCHEN")
    page.get_by_text("2 of 5 topics").wait_for()
    row(page, "cellar").wait_for(state="detached")
    page.get_by_label("Value contains").fill("temp")
    page.get_by_text("1 of 5 topics").wait_for()
    row(page, "lamp").wait_for(state="detached")
    row(page, "climate").wait_for()
    page.get_by_label("Value contains").fill("no such value")
    page.get_by_text("No topic has both.").wait_for()
    console.shot(page, "topics-searched")
    console.check_accessibility(page)


def test_the_tree_is_walked_with_keys(console: Console, page: Any) -> None:
    row(page, "lamp").wait_for()
    page.get_by_role("treegrid", name="Topics").focus()
    here = page.locator("[role=row].here")
    for key, name in (("Home", "house"), ("ArrowDown", "(empty)"), ("End", "lamp"), ("ArrowLeft", "kitchen")):
        page.keyboard.press(key)
        here.get_by_text(name, exact=True).wait_for()
    page.keyboard.press("ArrowLeft")
    row(page, "lamp").wait_for(state="detached")
    page.keyboard.press("ArrowRight")
    row(page, "lamp").wait_for()
    page.keyboard.press("ArrowRight")
    here.get_by_text("climate", exact=True).wait_for()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="house/kitchen/climate").wait_for()


def test_the_brokers_own_topics_are_a_choice_and_a_wrong_filter_is_explained(console: Console, page: Any) -> None:
    page.get_by_role("button", name="Usual filters").click()
    page.get_by_role("menu").evaluate("menu => Promise.all(menu.getAnimations().map(each => each.finished))")
    console.check_accessibility(page)
    page.get_by_role("menuitem", name="$SYS/#").click()
    row(page, "$SYS").wait_for()
    subscribe(page, "a/#/b")
    page.get_by_text("# must be the whole last level").first.wait_for()
    row(page, "$SYS").wait_for()


def test_what_is_paused_stands_still_until_it_goes_on(page: Any, client: Client) -> None:
    row(page, "lamp").wait_for()
    page.get_by_role("button", name="Pause").click()
    page.get_by_text("Paused", exact=True).wait_for()
    client.publish("house/new", b"1", qos=1)
    page.get_by_label("Topic contains").fill("house")  # the page answers, and knows no more topics than before
    page.get_by_text("5 of 5 topics").wait_for()
    page.get_by_role("button", name="Resume").click()
    page.get_by_text("6 of 6 topics").wait_for()


@pytest.mark.parametrize("kind", ["NDJSON", "CSV"])
def test_what_is_shown_is_taken_away_as_a_file(page: Any, tmp_path: Path, kind: str) -> None:
    page.get_by_label("Topic contains").fill("climate")
    page.get_by_text("2 of").wait_for()
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as waiting:
        page.get_by_role("menuitem", name=f"Topics as {kind}").click()
    assert waiting.value.suggested_filename == f"topics.{kind.lower()}"
    path = tmp_path / "topics"
    waiting.value.save_as(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2 + (kind == "CSV")
    assert all("house/cellar/climate" in line or "house/kitchen/climate" in line for line in lines[-2:])


def test_a_history_is_taken_away_as_a_file(page: Any, tmp_path: Path) -> None:
    row(page, "lamp").click()
    page.get_by_role("heading", name="house/kitchen/lamp").wait_for()
    page.get_by_role("button", name="Export").last.click()
    with page.expect_download() as waiting:
        page.get_by_role("menuitem", name="History as NDJSON").click()
    assert waiting.value.suggested_filename == "history.ndjson"
    waiting.value.save_as(tmp_path / "history")
    values = [json.loads(line) for line in (tmp_path / "history").read_text(encoding="utf-8").splitlines()]
    assert [(value["topic"], value["text"]) for value in values] == [("house/kitchen/lamp", "on")]


def test_thousands_of_topics_are_a_window_of_some_rows(console: Console, page: Any, client: Client) -> None:
    for number in range(1000):
        client.publish(f"$many/{number}", b"x", retain=True)
    client.publish("$many/last", b"x", retain=True, qos=1)
    subscribe(page, "$many/#")
    page.get_by_text(re.compile(r"1\s001 topics")).wait_for()
    row(page, "$many").click()
    tree = page.get_by_role("treegrid", name="Topics")
    assert tree.get_by_role("row").count() < 130
    tree.focus()
    row(page, "0").wait_for()
    page.keyboard.press("End")
    row(page, "last").wait_for()
    assert tree.get_by_role("row").count() < 130
    assert tree.get_attribute("aria-rowcount") == "1003"
