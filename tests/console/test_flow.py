"""Does somebody see what a client and the broker say to each other, as it passes?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest

pytest.importorskip("nicegui", reason="the extra console is not installed")

from tests.console.looking import PHONE, Console
from tests.process import BareClient
from tidewire.console.flow.page import DRAWN_PACKETS
from tidewire.console.flow.view import SHOWN_ROWS
from tidewire.server.admin_types import PacketSeen
from tidewire.wire.codes import PUBACK, PUBCOMP, PUBREC, PUBREL
from tidewire.wire.packets import Acknowledgement, Disconnect, Pingreq, Pingresp, Publish
from tidewire.wire.properties import CONTENT_TYPE, Properties

HOSTILE = "<img src=x onerror='throw 1'>"
"""The fixture `quiet` fails the test if this runs."""


def properties() -> Properties:
    made = Properties()
    made.texts[CONTENT_TYPE] = "application/json"
    made.user_properties.append(("room", HOSTILE))
    return made


def hand_over(client: BareClient, identifier: int, topic: str = "home/door") -> None:
    """A message at QoS 2, to its end."""
    client.send(Publish(topic.encode(), b'{"open": true}', 2, packet_identifier=identifier, properties=properties()))
    assert client.receive() == Acknowledgement(PUBREC, identifier, 0x10)
    client.send(Acknowledgement(PUBREL, identifier))
    assert client.receive() == Acknowledgement(PUBCOMP, identifier)


def row(page: Any, *words: str) -> Any:
    """The last row that has all of them."""
    return page.get_by_role("option", name=re.compile(".*".join(words))).last


def watch(console: Console, client: str, **how: Any) -> Any:
    """Its page, once it looks."""
    page = console.open(f"/flow?client={client}", **how)
    page.get_by_text("Nothing yet").wait_for()
    return page


def still(page: Any) -> None:
    """Nothing moves or loads any more: what is half faded in has too little contrast."""
    page.emulate_media(reduced_motion="reduce")
    page.get_by_role("progressbar").wait_for(state="hidden")


def look_at(console: Console, page: Any, name: str) -> None:
    """As it looks light, dark and on a phone, once it stands still."""
    still(page)
    console.check_accessibility(page)
    console.shot(page, name)
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    page.locator("body.body--dark").wait_for()
    console.check_accessibility(page)
    console.shot(page, f"{name}-dark")
    page.set_viewport_size(PHONE)
    page.get_by_role("link", name="Overview").wait_for(state="hidden")
    console.check_accessibility(page)
    console.shot(page, f"{name}-phone")


def test_a_client_is_chosen_from_those_who_are_there_or_by_its_name(console: Console) -> None:
    console.broker.connect("choose/me?&#1")
    page = console.open("/flow")
    suggestion = page.get_by_role("link", name="choose/me?&#1")
    suggestion.wait_for()
    console.check_accessibility(page)
    console.shot(page, "flow-choice")
    page.get_by_label("Client identifier").fill("nobody-has-this")
    page.get_by_text("No client has “nobody-has-this” in its name.").wait_for()
    assert not suggestion.is_visible()
    page.get_by_label("Client identifier").fill("choose")
    suggestion.click()
    page.get_by_role("heading", name="choose/me?&#1").wait_for()
    page.get_by_text("MQTT 3.1.1 over tcp").wait_for()
    page.get_by_role("link", name="Another client").click()
    page.get_by_label("Client identifier").fill("not here yet")
    page.keyboard.press("Enter")
    page.get_by_text("Not here now").wait_for()
    page.close()


def test_a_handshake_is_seen_from_connect_to_the_end(console: Console) -> None:
    page = watch(console, "door")
    with console.broker.connect("door", 5) as client:
        hand_over(client, 1)
        client.send(Pingreq())
        assert client.receive() == Pingresp()
    row(page, "connection has ended").wait_for()
    assert row(page, "client to broker", "CONNECT", "MQTT 5.0").is_visible()
    assert row(page, "broker to client", "PUBCOMP", "packet identifier 1", "took").is_visible()
    row(page, "PUBLISH", "packet identifier 1", "QoS 2", "home.door").click()
    packet = page.get_by_role("region", name="The chosen packet")
    packet.get_by_text("client → broker").wait_for()
    assert packet.get_by_text(f"room: {HOSTILE}").is_visible()
    assert '"open": true' in packet.get_by_role("region", name="Payload").inner_text()
    look_at(console, page, "flow")
    packet.get_by_role("button", name="Hex").click()
    packet.get_by_text("7b 22 6f 70").wait_for()
    packet.get_by_role("button", name="Close the packet").click()
    page.get_by_text("Choose a packet").wait_for(state="attached")
    page.close()


def test_packets_are_chosen_by_keyboard(console: Console) -> None:
    page = watch(console, "keys")
    with console.broker.connect("keys", 5) as client:
        hand_over(client, 1)
        row(page, "PUBCOMP").wait_for()
        page.get_by_role("listbox").focus()
        packet = page.get_by_role("region", name="The chosen packet")
        for key, heading in (("Home", "CONNECT"), ("ArrowDown", "CONNACK"), ("End", "PUBCOMP"), ("ArrowUp", "PUBREL")):
            page.keyboard.press(key)
            packet.get_by_role("heading", name=heading, exact=True).wait_for()
        page.keyboard.press("Escape")
        packet.get_by_text("Choose a packet").wait_for()
    page.close()


def test_packets_are_filtered_paused_and_cleared(console: Console) -> None:
    page = watch(console, "filter")
    with console.broker.connect("filter", 5) as client:
        hand_over(client, 1)
        row(page, "PUBCOMP").wait_for()
        acknowledgements = page.get_by_role("button", name="Acknowledgements")
        acknowledgements.click()
        row(page, "PUBCOMP").wait_for(state="detached")
        assert acknowledgements.get_attribute("aria-pressed") == "false"
        assert row(page, "PUBLISH").is_visible()
        acknowledgements.click()
        row(page, "PUBCOMP").wait_for()

        page.get_by_role("button", name="Clear").click()
        row(page, "PUBCOMP").wait_for(state="detached")

        page.get_by_role("button", name="Pause").click()
        go_on = page.get_by_role("button", name="Go on")
        go_on.wait_for()
        hand_over(client, 2)
        assert not row(page, "PUBCOMP").is_visible()
        go_on.click()
        row(page, "PUBCOMP", "packet identifier 2").wait_for()
    page.close()


def test_a_handshake_goes_on_over_a_new_connection_of_its_session(console: Console) -> None:
    page = watch(console, "resumes")
    with console.broker.connect("resumes", clean_start=False) as client:
        client.subscribe("to/resumes", 1)
        console.broker.connect("sends").send(Publish(b"to/resumes", b"1", 1, packet_identifier=1))
        sent = client.receive()
        assert isinstance(sent, Publish)
    row(page, "connection has ended").wait_for()
    with console.broker.connect("resumes", clean_start=False) as client:
        again = client.receive()
        assert isinstance(again, Publish) and again.dup
        client.send(Acknowledgement(PUBACK, again.packet_identifier), Disconnect())
        assert client.receive() is None
    row(page, "PUBACK", "took").wait_for()
    row(page, "PUBLISH", "DUP").wait_for()
    page.close()


def test_what_comes_too_fast_is_left_out_and_said(console: Console) -> None:
    page = watch(console, "fast")
    with console.broker.connect("fast") as client:
        for _ in range(4):
            client.send(*[Publish(b"much", b"x")] * (4 * DRAWN_PACKETS), Pingreq())
            assert client.receive() == Pingresp()
        row(page, "packets left out").wait_for()
        page.get_by_text(re.compile(r"\d+ packets · \d[\d ]* left out")).wait_for()
        assert page.get_by_role("option").count() <= SHOWN_ROWS
        console.check_accessibility(page)
    page.close()


def test_packets_are_recorded_and_the_diagram_is_drawn_into_a_file(console: Console, tmp_path: Path) -> None:
    page = watch(console, "records")
    page.get_by_role("button", name="Record").click()
    stop = page.get_by_role("button", name="Stop")
    stop.wait_for()
    with console.broker.connect("records", 5) as client:
        for identifier in range(1, 101):
            hand_over(client, identifier, "home/<door>")
    row(page, "connection has ended").wait_for()
    stop.click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the recording").click()
    download.value.save_as(tmp_path / "packets")
    assert download.value.suggested_filename == "records.ndjson"
    packets = msgspec.json.Decoder(PacketSeen).decode_lines((tmp_path / "packets").read_bytes())
    assert [packet.packet for packet in packets[:3]] == ["CONNECT", "CONNACK", "PUBLISH"]
    assert [packet.number for packet in packets] == list(range(1, 4 * 100 + 4))  # every one: also what was not drawn

    with page.expect_download() as download:
        page.get_by_role("button", name="Download the diagram as SVG").click()
    download.value.save_as(tmp_path / "drawing")
    assert download.value.suggested_filename == "records.svg"
    words = "".join(ElementTree.parse(tmp_path / "drawing").getroot().itertext())
    assert "home/<door>" in words and "PUBCOMP" in words
    page.close()
