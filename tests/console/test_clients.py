"""Does somebody find a client, see what it has and lacks, and end it when that is meant?"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

pytest.importorskip("nicegui", reason="the extra console is not installed")

from tests.console.looking import Console
from tests.console.test_flow import look_at, still
from tests.process import BareClient
from tidewire.console.clients.page import PAGE_ROWS, rows
from tidewire.server.admin_types import ClientInfo
from tidewire.wire.codes import PUBREC
from tidewire.wire.packets import Acknowledgement, Disconnect, Publish, Will
from tidewire.wire.properties import MAXIMUM_PACKET_SIZE, SESSION_EXPIRY_INTERVAL, Properties

HOSTILE = "<b>{{ 7 * 7 }}</b>"
"""Neither HTML nor Vue may make anything else of it."""


def connect(console: Console, name: str, maximum_packet_size: int = 0) -> BareClient:
    """A client whose session is kept."""
    wanted = Properties()
    wanted.integers[SESSION_EXPIRY_INTERVAL] = 600
    if maximum_packet_size:
        wanted.integers[MAXIMUM_PACKET_SIZE] = maximum_packet_size
    return console.broker.connect(name, 5, properties=wanted, will=Will(b"gone/" + name.encode(), b"bye", 1, True))


def leave(client: BareClient) -> None:
    client.send(Disconnect())
    assert client.receive() is None


def publish(console: Console, name: str, topic: str, payload: bytes, messages: int = 1) -> None:
    """At QoS 2, so that all of it is there once this returns."""
    with console.broker.connect(name) as client:
        for identifier in range(1, messages + 1):
            client.send(Publish(topic.encode(), payload, 2, packet_identifier=identifier))
            assert client.receive() == Acknowledgement(PUBREC, identifier)


def open_client(console: Console, name: str) -> Any:
    page = console.open(f"/clients?client={quote(name)}")
    still(page)
    page.get_by_role("heading", name=name).wait_for()
    return page


def test_the_largest_queue_and_the_greatest_loss_are_easy_to_find(console: Console) -> None:
    sleeper = connect(console, "sleeper")
    sleeper.subscribe("to/sleeper", 2)
    leave(sleeper)
    publish(console, "feeds-sleeper", "to/sleeper", b"x" * 900, 3)
    small = connect(console, "small", maximum_packet_size=100)
    small.subscribe("to/small", 2)
    publish(console, "feeds-small", "to/small", b"x" * 900, 2)
    page = console.open("/clients")
    page.get_by_text("3 messages, ").wait_for()
    page.get_by_text("2 messages dropped").wait_for()
    page.get_by_label("Order").click()
    page.get_by_role("option", name="Largest queue").click()
    page.get_by_role("listbox").wait_for(state="detached")
    first = page.get_by_role("row").nth(1)
    first.get_by_text("sleeper").wait_for()
    assert first.get_by_role("img", name="away").is_visible()
    look_at(console, page, "clients")
    page.get_by_role("link", name="small").first.click()
    page.get_by_text("too large", exact=True).wait_for()
    page.close()


def test_clients_are_found_by_what_is_typed_and_come_in_pages(console: Console) -> None:
    crowd = [console.broker.connect(f"crowd-{number:03}") for number in range(PAGE_ROWS + 2)]
    page = console.open("/clients")
    page.get_by_label("Identifier, user or address").fill("crowd-")
    page.get_by_text(f"Page 1: {PAGE_ROWS} clients, and there are more").wait_for()
    page.get_by_role("button", name="Next", exact=True).click()
    page.get_by_text("Page 2: 2 clients").wait_for()
    assert page.get_by_role("link", name="crowd-051").is_visible()
    page.get_by_role("button", name="Back").click()
    page.get_by_role("link", name="crowd-000").wait_for()
    page.get_by_label("Identifier, user or address").fill("crowd-007")
    page.get_by_text("One client").wait_for()
    crowd[7].close()
    page.get_by_text("There is no client").or_(page.get_by_text("No client matches this.")).wait_for()
    page.close()
    for client in crowd:
        client.close()


def test_a_client_is_shown_with_all_that_is_kept_for_it(console: Console) -> None:
    name = f"all {HOSTILE}"
    with connect(console, name) as client:
        client.subscribe("to/all/#", 2)
        leave(client)
    with connect(console, name.replace("all", "other")):
        publish(console, "feeds-all", "to/all/it", HOSTILE.encode(), 25)
        page = open_client(console, name)
        page.get_by_text("The first 20 of 25.").wait_for()
        assert page.get_by_role("region", name="Subscriptions").get_by_text("to/all/#").is_visible()
        assert page.get_by_text(HOSTILE, exact=True).count() == 20
        page.get_by_text("TCP/IP").wait_for()
        look_at(console, page, "client")
        page.close()
        page = open_client(console, name.replace("all", "other"))
        will = page.get_by_role("region", name="Will")
        will.get_by_role("cell", name="bye").wait_for()
        page.get_by_role("link", name="Watch its packets").click()
        page.get_by_text("Nothing yet").wait_for()
        page.close()


def test_a_connection_is_ended_only_when_that_is_meant(console: Console) -> None:
    client = connect(console, "kicked")
    page = open_client(console, "kicked")
    page.get_by_role("button", name="Kick").click()
    dialog = page.get_by_role("dialog", name="End this connection?")
    dialog.get_by_text("kicked is told").wait_for()
    console.check_accessibility(page)
    console.shot(page, "client-kick")
    dialog.get_by_role("button", name="Cancel").click()
    dialog.wait_for(state="detached")
    assert page.get_by_role("img", name="connected").is_visible()
    page.get_by_role("button", name="Kick").click()
    dialog.get_by_role("button", name="Kick").click()
    goodbye = client.receive()
    assert isinstance(goodbye, Disconnect) and goodbye.reason_code == 0x98
    page.get_by_role("img", name="away").wait_for()
    assert page.get_by_role("button", name="Kick").is_disabled()
    page.close()


def test_a_session_is_cleared_only_when_that_is_meant(console: Console) -> None:
    client = connect(console, "cleared")
    client.subscribe("to/cleared", 1)
    page = open_client(console, "cleared")
    page.get_by_role("button", name="Clear session").click()
    dialog = page.get_by_role("dialog", name="Clear this session?")
    dialog.get_by_text("loses 1 subscription").wait_for()
    dialog.get_by_role("button", name="Clear").click()
    page.get_by_text("There is no such session").wait_for()
    console.check_accessibility(page)
    assert connect(console, "cleared").connack.session_present is False
    page.get_by_role("img", name="connected").wait_for()  # it is shown as soon as it is back
    page.close()


def test_a_row_says_no_more_than_is_known() -> None:
    away = ClientInfo(
        client_identifier="a/?&b", user=None, address="", version="", transport="", listener="", connected=False,
        since=0, keep_alive_s=0, clean=False, expires_s=60, subscriptions=0, queue_messages=0, queue_bytes=0,
        inflight=0, dropped=0,
    )  # fmt: skip
    row = rows([away])[0]
    assert row["href"] == "/clients?client=a%2F%3F%26b"
    assert (row["protocol"], row["since"], row["queue"], row["share"], row["about"]) == ("–", "–", "0", 0, "away")
