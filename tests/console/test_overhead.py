"""Are costs measured, drawn and reckoned as the command does it, and the broker's own traffic told by layer?"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("nicegui", reason="the extra console is not installed")

from tests.console.looking import Console
from tidewire.console.overhead.measure import Measurement
from tidewire.console.overhead.meters import layers
from tidewire.console.overhead.month import reckoned, resized
from tidewire.overhead.costs import Direction, Traffic
from tidewire.overhead.kernel import ETHERNET_MSS
from tidewire.overhead.protocols import ProtocolCost
from tidewire.overhead.report import Report
from tidewire.store.meter_rows import Flow
from tidewire.sync import Client

SMALL = ["--transport", "tcp", "--version", "5.0", "--no-alias", "--only", "costs"]
"""The quickest of all measurements."""


@pytest.fixture(scope="module")
def report() -> Report:
    measurement = Measurement()
    asyncio.run(measurement.run(SMALL))
    assert measurement.fault == ""
    assert measurement.steps == ["MQTT 5.0 · TCP"]
    assert measurement.report is not None
    return measurement.report


# -- the process


def test_what_the_command_refuses_is_said_in_one_line() -> None:
    measurement = Measurement()
    asyncio.run(measurement.run(["--payload", "-1"]))
    assert measurement.report is None
    assert "--payload" in measurement.fault and "\n" not in measurement.fault
    assert not measurement.running


def test_a_measurement_can_be_stopped() -> None:
    async def stopped() -> Measurement:
        measurement = Measurement()
        running = asyncio.create_task(measurement.run([]))
        while not measurement.steps:  # it says what it begins with
            await asyncio.sleep(0)
        measurement.stop()
        await running
        return measurement

    measurement = asyncio.run(stopped())
    assert (measurement.report, measurement.fault) == (None, "the measurement was stopped")


# -- the month


def test_the_schedule_that_was_measured_gives_the_months_of_the_report(report: Report) -> None:
    assert reckoned(report, report.schedule, report.message.payload_bytes) == report.months


@given(st.integers(0, 100_000), st.integers(0, 100_000))
def test_a_payload_that_is_made_longer_and_shorter_again_costs_what_it_did(before: int, after: int) -> None:
    sent = Direction(payload=before, protocol=10, tcp_ip=52 * (1 + (before + 10) // ETHERNET_MSS))
    cost = ProtocolCost("a", Traffic(sent), Traffic(sent), Traffic(), 0, 0, "")
    other = resized(cost, after - before)
    assert other.message.sent.payload == after
    assert other.message.received == cost.message.received
    assert resized(other, before - after) == cost


@given(*(st.integers(0, 1 << 40) for _ in range(5)))
def test_layers_are_together_all_bytes(payload: int, headers: int, websocket: int, tls: int, tcp_ip: int) -> None:
    flow = Flow(payload=payload, mqtt=payload + headers, websocket=websocket, tls=tls, tcp_ip=tcp_ip)
    assert layers(flow) == [payload, headers, websocket, tls, tcp_ip]
    assert sum(layers(flow)) == flow.total


# -- the page


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    config = tmp_path_factory.mktemp("overhead") / "broker.toml"
    config.write_text('[[meter.budget]]\nname = "satellite"\nclients = "sensor-*"\nlimit_bytes = 4000\n')
    with Console("--memory", "--config", config) as console:
        yield console


@pytest.mark.parametrize(("dark", "phone"), [(False, False), (True, True)])
def test_the_broker_s_own_traffic_is_told_by_layer_client_and_branch(console: Console, dark: bool, phone: bool) -> None:
    with Client(f"mqtt://127.0.0.1:{console.mqtt_port}", client_id="sensor-7") as client:
        for _ in range(50):
            client.publish("fields/north/soil", "0.41", qos=1)
    page = console.open("/overhead", dark=dark, phone=phone)
    page.emulate_media(reduced_motion="reduce")
    clients = page.get_by_role("region", name="By client")
    clients.get_by_role("cell", name="sensor-7").wait_for()
    page.get_by_role("region", name="By branch of the topics").get_by_role("cell", name="fields/north").wait_for()
    page.get_by_role("region", name="Budgets").get_by_role("cell", name="satellite").wait_for()
    page.get_by_text("received by the broker").wait_for()
    console.shot(page, f"overhead{'-dark' if dark else ''}{'-phone' if phone else ''}")
    console.check_accessibility(page)
    page.get_by_role("button", name="Today").click()
    clients.get_by_role("cell", name="sensor-7").wait_for()
    page.context.close()


def test_a_measurement_is_run_shown_and_kept_for_the_next_page(console: Console) -> None:
    page = console.open("/overhead")
    page.emulate_media(reduced_motion="reduce")
    page.get_by_role("tab", name="A device's month").click()
    page.get_by_text("Measure first").wait_for()
    page.get_by_role("tab", name="Measured").click()
    page.get_by_label("Payload").fill("40")
    page.get_by_role("combobox", name="Transport").click()
    page.get_by_role("option", name="TCP", exact=True).click()
    page.get_by_role("switch", name="Also the same message").click()
    page.get_by_role("button", name="Measure", exact=True).click()
    page.get_by_text(re.compile("^(starting|measuring)")).wait_for()
    page.get_by_role("heading", name="The packets of one message").wait_for()
    console.shot(page, "overhead-measured")
    console.check_accessibility(page)
    page.context.close()

    page = console.open("/overhead", dark=True)
    page.emulate_media(reduced_motion="reduce")
    page.get_by_role("tab", name="Measured").click()
    stages = page.get_by_role("region", name="Bytes of each stage")
    page.get_by_text("Only MQTT was measured.").wait_for()
    assert stages.get_by_role("row").count() == 1 + 3
    page.get_by_role("img", name="Sequence diagrams").wait_for()
    page.get_by_role("button", name="The same as text").click()
    page.get_by_role("group", name="QoS 2 as text").get_by_text("PUBCOMP").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as SVG").click()
    assert "PUBREL" in download.value.path().read_text()
    console.shot(page, "overhead-flows-dark")
    console.check_accessibility(page)
    page.context.close()


def test_a_month_is_reckoned_again_when_the_schedule_changes(console: Console) -> None:
    page = console.open("/overhead", phone=True)
    page.emulate_media(reduced_motion="reduce")
    page.get_by_role("tab", name="A device's month").click()
    page.get_by_text("86 400 messages and 0 pings in 30 days.").wait_for()
    page.get_by_label("A message every").fill("300")
    page.get_by_text("8 640 messages and 34 560 pings in 30 days.").wait_for()
    page.get_by_label("Payload").fill("1000")
    page.get_by_text("It was measured with 40 B; another payload is estimated.").wait_for()
    console.shot(page, "overhead-month-phone")
    console.check_accessibility(page)
    page.context.close()
