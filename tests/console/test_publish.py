"""Does what is typed on the page reach those who subscribe, and does the page say what became of it?"""

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
from tidewire.console.publish.answers import Answers
from tidewire.console.publish.draft import (
    TEMPLATES,
    Draft,
    DraftFault,
    PayloadForm,
    Template,
    check_topic,
    payload_of,
    properties_of,
    templates_as_json,
    templates_of,
)
from tidewire.console.publish.outcome import outcome
from tidewire.console.publish.sending import Sending
from tidewire.server.admin import AdminFault
from tidewire.server.admin_topics import TopicFeed
from tidewire.server.admin_types import MessageProperties, Published, TopicChanges, TopicSeen
from tidewire.sync import Client

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
DRAFTS = st.builds(
    Draft,
    topic=TEXT,
    payload=TEXT,
    payload_form=st.sampled_from(["text", "json", "hex", "base64"]),
    qos=st.integers(0, 2),
    retain=st.booleans(),
    is_utf8=st.booleans(),
    content_type=TEXT,
    expiry_s=st.none() | st.integers(0, 0xFFFF_FFFF),
    response_topic=TEXT,
    correlation_data=TEXT,
    user_properties=st.lists(st.tuples(TEXT, TEXT), max_size=3),
)


# -- what is typed


@given(st.binary(max_size=64))
def test_any_bytes_can_be_typed_in_hexadecimal_and_in_base64(data: bytes) -> None:
    assert payload_of(Draft(payload=data.hex(" "), payload_form="hex")) == data
    assert payload_of(Draft(payload=data.hex(":"), payload_form="hex")) == data
    assert payload_of(Draft(payload=base64.b64encode(data).decode(), payload_form="base64")) == data


@given(TEXT)
def test_text_is_written_in_utf_8_and_json_as_it_was_typed(text: str) -> None:
    assert payload_of(Draft(payload=text)) == text.encode()
    typed = json.dumps({"value": text}, indent=2)
    assert payload_of(Draft(payload=typed, payload_form="json")) == typed.encode()


@pytest.mark.parametrize(
    ("form", "typed", "told"),
    [
        ("json", '{"a": }', "line 1, column 7"),
        ("json", "[" * 100_000, "nested too deeply"),
        ("hex", "0g", "two digits for each"),
        ("base64", "abc", "A-Z"),
        ("text", "\ud800", "surrogate"),
    ],
)
def test_what_is_wrong_with_a_payload_is_said_in_one_line(form: PayloadForm, typed: str, told: str) -> None:
    with pytest.raises(DraftFault, match=told) as raised:
        payload_of(Draft(payload=typed, payload_form=form))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("topic", ["", "a/#", "a/+", "$SYS/broker", "\ud800", "a\0"])
def test_a_topic_that_cannot_be_published_to_is_said(topic: str) -> None:
    with pytest.raises(DraftFault):
        check_topic(topic)


def test_properties_that_are_empty_are_none() -> None:
    assert properties_of(Draft(user_properties=[("", "")])) == MessageProperties()
    full = Draft(is_utf8=True, expiry_s=0, content_type="a/b", correlation_data="é", user_properties=[("k", "")])
    assert properties_of(full) == MessageProperties(
        payload_format_indicator=1,
        message_expiry_interval_s=0,
        content_type="a/b",
        correlation_data="é".encode(),
        user_properties=[("k", "")],
    )


# -- templates


@given(
    st.lists(st.builds(Template, name=TEXT.filter(bool), draft=DRAFTS), max_size=4, unique_by=lambda each: each.name)
)
def test_templates_that_are_exported_can_be_imported(templates: list[Template]) -> None:
    assert templates_of(templates_as_json(templates)) == templates


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"name": "a", "draft": {"qos": 3}}]', "[" + " " * 600_000])
def test_what_are_no_templates_is_said(text: str) -> None:
    with pytest.raises(DraftFault):
        templates_of(text)


def test_there_are_no_more_templates_than_a_browser_keeps() -> None:
    with pytest.raises(DraftFault, match="delete one"):
        templates_as_json([Template(str(number), Draft()) for number in range(TEMPLATES + 1)])
    with pytest.raises(DraftFault, match="KiB"):
        templates_as_json([Template(str(number), Draft(payload="x" * 190_000)) for number in range(3)])


# -- what became of it


@pytest.mark.parametrize(
    ("code", "retain", "is_empty", "told"),
    [
        (0, False, False, "Somebody who subscribes gets it."),
        (0, True, False, "Somebody who subscribes gets it, and is retained."),
        (16, False, False, "Nobody subscribes"),
        (16, True, False, "whoever does so later gets it"),
        (16, True, True, "is deleted"),
        (135, False, False, "access rules"),
        (151, True, True, "could not be kept"),
        (131, False, False, "refused it: implementation specific"),
    ],
)
def test_a_reason_code_is_told_in_words(code: int, retain: bool, is_empty: bool, told: str) -> None:
    published = Published(reason_code=code, reason="implementation specific error")
    assert told in outcome(published, retain, is_empty).text


def run(sending: Sending) -> None:
    asyncio.run(sending.run())


async def no_pause(_: float) -> None:
    pass


def test_messages_are_sent_as_often_as_was_asked_with_a_pause_between_two() -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    sending = Sending(lambda: "taken.", 3, 0.5, pause)
    run(sending)
    assert sending.told() == "3 of 3 sent. taken."
    assert sum(pauses) == pytest.approx(1.0)


def test_sending_stops_when_it_is_told_to_and_says_so() -> None:
    def send() -> str:
        if sending.sent == 1:
            sending.stop()
        return "taken."

    sending = Sending(send, 9, 60.0, no_pause)
    run(sending)
    assert sending.told() == "2 of 9 sent, stopped. taken."


def test_sending_ends_with_the_first_fault() -> None:
    def refuse() -> str:
        raise AdminFault("no")

    sending = Sending(refuse, 9, 0.0, no_pause)
    run(sending)
    assert (sending.sent, str(sending.fault), sending.done) == (0, "no", True)


@pytest.mark.parametrize(("times", "interval"), [(0, 1.0), (10_001, 1.0), (1, -1.0), (1, 3601.0), (1, float("nan"))])
def test_sending_is_bounded(times: int, interval: float) -> None:
    with pytest.raises(ValueError, match="not between"):
        Sending(lambda: "", times, interval)


# -- answers


class FakeFeed:
    """Gives what it is given."""

    def __init__(self, *seen: TopicSeen) -> None:
        self.seen = list(seen)
        self.closed = False

    def take(self) -> TopicChanges:
        taken, self.seen = self.seen, []
        return TopicChanges(topics=taken, messages=len(taken), unseen=0, rate=0.0, sampling=False, topics_full=False)

    def close(self) -> None:
        self.closed = True


def seen(messages: int, correlation: bytes | None = None, retain: bool = False) -> TopicSeen:
    return TopicSeen(
        topic="answers",
        payload=b"21",
        payload_bytes=2,
        retain=retain,
        properties=MessageProperties(correlation_data=correlation),
        at=101.0,
        messages=messages,
        total_bytes=2,
        rate=0.0,
    )


def answers_to(feed: FakeFeed, now: list[float]) -> Answers:
    return Answers(cast(TopicFeed, feed), b"ours", 5.0, lambda: now[0])


def test_answers_are_told_apart_by_their_correlation_data() -> None:
    now = [100.0]
    feed = FakeFeed(seen(1, b"ours"))
    answers = answers_to(feed, now)
    (first,) = answers.take()
    feed.seen = [seen(2, b"theirs")]
    (second,) = answers.take()
    feed.seen = [seen(5)]
    (third,) = answers.take()
    assert [(each.is_ours, each.has_correlation, each.unseen) for each in (first, second, third)] == [
        (True, True, 0),
        (False, True, 0),
        (False, False, 2),
    ]
    assert (first.after_s, answers.count) == (1.0, 5)


def test_what_was_retained_before_the_request_is_no_answer() -> None:
    answers = answers_to(FakeFeed(seen(0, b"ours", retain=True)), [100.0])
    assert (answers.take(), answers.count) == ([], 0)


def test_the_feed_is_closed_when_the_time_is_over() -> None:
    now, feed = [100.0], FakeFeed()
    answers = answers_to(feed, now)
    answers.take()
    assert not feed.closed
    now[0] = 105.0
    answers.take()
    assert (feed.closed, answers.closed, answers.take()) == (True, True, [])


# -- the page


@pytest.fixture(scope="module")
def client(console: Console) -> Iterator[Client]:
    with Client(f"mqtt://127.0.0.1:{console.mqtt_port}", client_id="listener") as client:
        yield client


def opened(console: Console, **how: Any) -> Any:
    """Without movement, so that what is looked at is at its end."""
    page = console.open("/publish", **how)
    page.emulate_media(reduced_motion="reduce")
    page.get_by_role("button", name="Publish").wait_for()
    return page


@pytest.fixture(scope="module")
def context(console: Console) -> Iterator[Any]:
    """A browser that has the page's files already."""
    context = opened(console).context
    yield context
    context.close()


@pytest.fixture
def page(console: Console, context: Any) -> Iterator[Any]:
    page = opened(console, context=context)
    yield page
    page.close()


def typed(page: Any, topic: str, payload: str) -> None:
    page.get_by_label("Topic", exact=True).fill(topic)
    page.get_by_role("textbox", name="Payload").fill(payload)


def test_a_message_arrives_with_all_its_properties(console: Console, client: Client, page: Any) -> None:
    with client.subscribe("lamp/#", qos=1) as stream:
        typed(page, "lamp/1", '{"on": tru}')
        page.get_by_role("group", name="Kind of payload").get_by_role("button", name="JSON").click()
        page.get_by_text("no JSON").wait_for()
        page.get_by_role("textbox", name="Payload").fill('{"on": true}')
        page.get_by_text("12 B").wait_for()
        page.get_by_role("group", name="QoS").get_by_role("button", name="1").click()
        page.get_by_role("button", name="Properties of MQTT 5").click()
        page.get_by_label("Content type").fill("application/json")
        page.get_by_label("Expires after").fill("60")
        page.get_by_role("button", name="Add a user property").click()
        page.get_by_label("Value", exact=True).fill("2")  # first: a template has a name too
        page.get_by_label("Name", exact=True).first.fill("floor")
        console.shot(page, "publish-properties")
        console.check_accessibility(page)
        page.get_by_role("button", name="Publish").click()
        message = stream.get(timeout=30)
        page.get_by_text("Somebody who subscribes gets it.").wait_for()
    assert (message.payload, message.qos, message.content_type) == (b'{"on": true}', 1, "application/json")
    assert list(message.user_properties) == [("floor", "2")]


def test_it_says_gently_that_nobody_subscribes_and_clearly_what_is_wrong(console: Console, page: Any) -> None:
    page.get_by_role("button", name="Publish").click()
    page.get_by_text("give a topic, such as hello/world").wait_for()
    typed(page, "a/#", "hello")
    wrong = page.get_by_text("give a topic: ")
    wrong.wait_for()
    assert wrong.count() == 1  # beside its field, and nowhere else
    page.get_by_label("Topic", exact=True).fill("nobody/here")
    wrong.wait_for(state="detached")
    page.get_by_role("group", name="Kind of payload").get_by_role("button", name="JSON").click()
    page.get_by_role("textbox", name="Payload").fill("")
    page.get_by_role("button", name="Publish").click()
    page.get_by_text("no JSON").wait_for()
    assert page.get_by_text("no JSON").count() == 1
    page.get_by_role("textbox", name="Payload").fill('"hello"')
    page.get_by_role("button", name="Publish").click()
    page.get_by_role("log").get_by_text("Nobody subscribes to this topic now").wait_for()
    console.check_accessibility(page)


def test_an_empty_retained_message_is_only_sent_when_that_is_meant(console: Console, client: Client, page: Any) -> None:
    client.publish("kept/value", "1", qos=1, retain=True)
    typed(page, "kept/value", "")
    page.get_by_role("switch", name="Retain").click()
    page.get_by_role("button", name="Publish").click()
    dialog = page.get_by_role("dialog", name="Delete what is retained?")
    dialog.get_by_text("kept/value").wait_for()
    console.shot(page, "publish-asks")
    console.check_accessibility(page)
    dialog.get_by_role("button", name="Cancel").click()
    dialog.wait_for(state="detached")
    assert page.get_by_text("Nothing has been published here yet.").is_visible()
    page.get_by_role("button", name="Publish").click()
    dialog.get_by_role("button", name="Delete").click()
    page.get_by_text("What was retained under this topic is deleted.").wait_for()


def test_it_is_sent_several_times_and_can_be_stopped(client: Client, page: Any) -> None:
    with client.subscribe("tick") as stream:
        typed(page, "tick", "tock")
        page.get_by_role("button", name="Several times").click()
        page.get_by_label("How often").fill("3")
        page.get_by_label("Every").fill("0")
        page.get_by_role("button", name="Publish").click()
        assert [stream.get(timeout=30).payload for _ in range(3)] == [b"tock"] * 3
        page.get_by_text("3 of 3 sent.").wait_for()
        page.get_by_label("How often").fill("1000")
        page.get_by_label("Every").fill("60")
        page.get_by_role("button", name="Publish").click()
        stream.get(timeout=30)
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("1 of 1000 sent, stopped.").wait_for()


@pytest.mark.parametrize(("dark", "phone"), [(False, False), (True, True)])
def test_a_request_shows_its_answers(console: Console, client: Client, dark: bool, phone: bool) -> None:
    page = opened(console, dark=dark, phone=phone)
    with client.subscribe("ask/time") as stream:
        typed(page, "ask/time", "?")
        page.get_by_role("button", name="As a request").click()
        page.get_by_label("Wait for answers").fill("60")
        page.get_by_role("button", name="Publish").click()
        request = stream.get(timeout=30)
        assert request.response_topic is not None
        assert request.correlation_data is not None
        client.publish(request.response_topic, {"hour": 12}, correlation_data=request.correlation_data)
        page.get_by_text("its correlation data is ours").wait_for()
        page.get_by_text('"hour": 12').wait_for()
        console.shot(page, f"publish-answers{'-dark' if dark else ''}{'-phone' if phone else ''}")
        console.check_accessibility(page)
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("One answer came.").wait_for()
    page.context.close()


def test_templates_stay_in_the_browser(console: Console, page: Any) -> None:
    typed(page, "lamp/2", "00 ff")
    page.get_by_role("group", name="Kind of payload").get_by_role("button", name="Hex").click()
    page.get_by_label("Name", exact=True).fill("Lamp off")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="Lamp off").wait_for()
    page.reload()
    page.get_by_role("button", name="Lamp off").click()
    page.get_by_text("2 B", exact=True).wait_for()
    assert page.get_by_label("Topic", exact=True).input_value() == "lamp/2"
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    exported = download.value.path().read_text()
    assert templates_of(exported)[0].draft.payload_form == "hex"
    page.get_by_role("button", name="Delete this template").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_text("None yet.").wait_for()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Import").click()
    chooser.value.set_files({"name": "kept.json", "mimeType": "application/json", "buffer": exported.encode()})
    page.get_by_role("button", name="Lamp off").wait_for()
    console.shot(page, "publish-templates")
    console.check_accessibility(page)


def test_a_file_is_sent_as_it_is(client: Client, page: Any) -> None:
    data = bytes(range(256)) * 40
    with client.subscribe("picture") as stream:
        page.get_by_label("Topic", exact=True).fill("picture")
        page.get_by_role("group", name="Kind of payload").get_by_role("button", name="File").click()
        page.get_by_role("button", name="Publish").click()
        page.get_by_text("choose a file to send").wait_for()
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Choose a file").click()
        chooser.value.set_files({"name": "picture.bin", "mimeType": "application/octet-stream", "buffer": data})
        page.get_by_text("10.2 kB").wait_for()
        page.get_by_role("button", name="Publish").click()
        assert stream.get(timeout=30).payload == data
