"""Does what is shown say what was measured: tables, bars, diagrams, and the SVG of both?"""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from tests.overhead.conftest import Exchanged
from tidewire.overhead import diagram, svg, tables
from tidewire.overhead.costs import Direction
from tidewire.overhead.mqtt import Message
from tidewire.overhead.protocols import Missing, of_mqtt
from tidewire.overhead.report import NOTES, Report
from tidewire.overhead.schedule import Schedule, month, ping_bytes

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def report(exchange: Exchanged) -> Report:
    exchanges = [exchange("wss", "3.1.1"), exchange("wss"), exchange("tcp", alias=True)]
    schedule = Schedule(30, 60)
    months = [month(cost, schedule, ping_bytes(each)) for each in exchanges for cost in of_mqtt(each)]
    missing = [Missing("AMQP", "no <rabbit> here")]
    return Report(Message(), schedule, exchanges, [], missing, months, schedule.wake_ups, NOTES)


def test_the_costs_are_totals_of_each_stage(report: Report) -> None:
    *_, last = tables.costs(report).splitlines()
    assert last.split()[:3] == ["5.0,", "alias", "·"]
    assert last.split()[5] == str(report.exchanges[-1].stage("subscribe").traffic.total)


def test_the_layers_of_a_line_add_up_to_its_total(report: Report) -> None:
    _, _, names, _, *lines = tables.layers(report.exchanges[1]).splitlines()
    assert names.split() == [
        *("payload", "MQTT", "WebSocket", "TLS", "TCP/IP", "total"),
        *("sent", "received", "packets", "segments", "trips"),
    ]
    assert len(lines) == len(report.exchanges[1].stages)
    for line in lines:
        joined = re.sub(r"(?<=\d) (?=\d{3}\b)", "", line)  # thousands
        *layers, total, sent, received = map(int, re.findall(r" {2,}(\d+)(?= |$)", joined)[:8])
        assert total == sum(layers) == sent + received


def test_layers_that_are_not_there_have_no_column(report: Report) -> None:
    assert "TLS" not in tables.layers(report.exchanges[2])


def test_a_month_is_shown_for_each_way_and_qos(report: Report) -> None:
    shown = tables.months(report)
    assert "20 B every 30 s, 86 400 messages; keep-alive 60 s, 0 pings" in shown
    assert tables.megabytes(report.months[0].kept_bytes) in shown
    assert "the radio wakes 86 400 times with a connection that is kept" in shown


def test_what_is_missing_stands_below_the_protocols(report: Report) -> None:
    assert "missing: AMQP: no <rabbit> here" in tables.protocols(report)


def test_only_one_transport_is_compared_with_others(report: Report) -> None:
    assert {cost.name.partition(" · ")[2] for cost in tables.compared_costs(report)} == {
        f"WSS, QoS {q}" for q in (0, 1, 2)
    }


def test_a_bar_is_as_long_as_its_bytes_and_shaded_by_layer() -> None:
    assert (
        tables.bar(Direction(payload=10, protocol=20, tls=30, tcp_ip=40), 100)
        == "█" * 5 + "▓" * 10 + "▒" * 15 + "░" * 20
    )
    assert tables.bar(Direction(payload=1), 1000) == ""


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_diagram_has_an_arrow_for_each_packet(exchange: Exchanged, qos: int) -> None:
    performed = exchange("tcp")
    _, heads, _, *rows, _ = diagram.text(performed, performed.flows[qos]).splitlines()
    assert heads.split() == ["publisher", "broker", "subscriber"]
    assert len(rows) == len(performed.flows[qos].packets)
    assert len({len(row) for row in rows}) == 1
    for row, packet in zip(rows, performed.flows[qos].packets, strict=True):
        left, right = row[: len(row) // 2 + 4], row[len(row) // 2 + 4 :]
        drawn = left if packet.client == "publisher" else right
        assert f" {packet.name} {packet.detail} · {packet.packet_bytes} B " in drawn
        rightward = packet.to_broker == (packet.client == "publisher")
        assert ("▶" in drawn, "◀" in drawn) == (rightward, not rightward)


def test_a_packet_in_frames_and_records_has_both_sizes(exchange: Exchanged) -> None:
    performed = exchange("wss")
    packet = performed.flows[1].packets[0]
    assert packet.stream_bytes == packet.packet_bytes + 6 + 22
    assert diagram.size(packet) in diagram.text(performed, performed.flows[1])
    assert diagram.size(packet) == f"{packet.packet_bytes} B ({packet.stream_bytes} B)"


def test_the_drawing_is_an_svg_with_all_packets_for_light_and_dark(report: Report) -> None:
    drawn = svg.draw(report)
    root = ElementTree.fromstring(drawn)
    names = [span.text for span in root.iter(f"{SVG}tspan") if span.get("class") == "name"]
    assert names == [packet.name for flow in report.typical.flows for packet in flow.packets]
    assert "prefers-color-scheme: dark" in drawn
    bars = [rect for rect in root.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]
    assert len(bars) == 2 * 3 * 5  # every layer of WSS, for two versions and each QoS
    bottom = float(root.get("height", "0"))
    assert all(float(text.get("y", "0")) < bottom for text in root.iter(f"{SVG}text"))


def test_a_part_of_the_drawing_may_be_left_out(report: Report) -> None:
    assert "Bytes of one message" not in svg.draw(report, bars=False)
    assert "PUBREC" not in svg.draw(report, flows=False)
