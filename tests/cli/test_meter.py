"""Does `tidewire meter` say what clients and topics have cost, to people and to programs?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import run
from tests.process import BrokerProcess
from tests.store.stores import batch_of
from tidewire.cli import meter as meter_command
from tidewire.engine import meter
from tidewire.server.metering import ROUND_S
from tidewire.store.meter_rows import described, encoded
from tidewire.store.sqlite import StoreFile
from tidewire.sync import Client
from tidewire.testing import BrokerThread
from tidewire.wire.packets import Disconnect, Publish


def account(kind: str, name: str, period: str, payload: int, user: str | None = None, tls: int = 0) -> tuple[Any, ...]:
    """A row of the table: as many bytes in each direction, one PUBLISH received."""
    figures = [0] * (2 * meter.SPAN)
    for direction in (meter.RECEIVED, meter.SENT):
        figures[direction + meter.PAYLOAD] = payload
        figures[direction + meter.MQTT] = payload + 10
        figures[direction + meter.TLS] = tls
        figures[direction + meter.TCP_IP] = 52
        figures[direction + meter.SEGMENTS] = 1
    figures[meter.PACKETS + 3] = 1
    figures[meter.PACKET_BYTES + 3] = payload + 10
    told = described(meter.Account(kind, name, user), figures, period)
    return told.kind, told.period, told.name, told.user, encoded(told).decode()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory with a store, written in two days."""
    directory = tmp_path / "data"
    directory.mkdir()
    file = StoreFile(directory / "broker.db")
    file.open()
    rows = [
        account("total", "", "2026-11", 3000),
        account("total", "", "2026-11-20", 1000),
        account("total", "", "2026-11-21", 2000),
        account("client", "sensor-1", "2026-11", 2500, "anna", 1234),
        account("client", "sensor-2", "2026-11", 499),
        account("client", "phone\x1b[2J", "2026-11", 1),
        account("client", "sensor-1", "2026-11-20", 1000, "anna"),
        account("client", "sensor-1", "2026-11-21", 1500, "anna"),
        account("client", "sensor-2", "2026-10", 7),
        account("branch", "plant/1", "2026-11", 2999),
    ]
    file.write(batch_of(metered=rows))
    with closing(file):
        pass
    return directory


def said(data: Path, *arguments: str) -> str:
    result = run("meter", "--data", data, *arguments)
    assert result.exit_code == 0, result.output
    return result.output


def lines(data: Path, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said(data, *arguments).splitlines()]


def test_a_table_has_the_total_and_then_the_costliest_first(data: Path) -> None:
    assert said(data, "--table").splitlines() == [
        "NAME          PERIOD   MESSAGES  PAYLOAD   MQTT  WEBSOCKET    TLS  TCP/IP  ALL BYTES",
        "(total)       2026-11         1    6 000  6 020          0      0     104      6 124",
        "sensor-1      2026-11         1    5 000  5 020          0  2 468     104      7 592",
        "sensor-2      2026-11         1      998  1 018          0      0     104      1 122",
        r"phone\x1b[2J  2026-11         1        2     22          0      0     104        126",
    ]


def test_one_client_is_shown_layer_by_layer_and_by_packets(data: Path) -> None:
    assert said(data, "--table", "sensor-1").splitlines() == [
        "sensor-1, user anna, 2026-11: 7 592 bytes",
        "                      received            sent",
        "  payloads               2 500           2 500",
        "  MQTT                      10              10",
        "  WebSocket                  0               0",
        "  TLS                    1 234           1 234",
        "  TCP/IP                    52              52",
        "  all                    3 796           3 796",
        "  segments                   1               1",
        "  received  PUBLISH     1 packet, 2 510 bytes",
    ]


def test_a_pattern_a_period_and_a_limit_choose(data: Path) -> None:
    assert [row["name"] for row in lines(data, "sensor-*")] == ["sensor-1", "sensor-2"]
    assert [row["name"] for row in lines(data, "sensor-*", "--limit", "1")] == ["sensor-1"]
    assert [(row["period"], row["total"]) for row in lines(data, "sensor-1", "--period", "2026-11-*")] == [
        ("2026-11-21", 3124),
        ("2026-11-20", 2124),
    ]
    assert [row["period"] for row in lines(data, "sensor-1", "--period", "day")] == ["2026-11-21"]
    assert [row["received"]["payload"] for row in lines(data, "sensor-2", "--period", "2026-10")] == [7]


def test_topics_are_shown_in_place_of_clients(data: Path) -> None:
    (row,) = lines(data, "--topics")
    assert (row["kind"], row["name"], row["received"]["packets"]) == ("branch", "plant/1", {"PUBLISH": [1, 3009]})


def test_what_was_not_metered_is_said(data: Path) -> None:
    assert said(data, "--table", "nobody") == "tidewire: 'nobody' was not metered in that time\n"
    assert lines(data, "nobody") == []


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--period", "year"], "'year' is none; write day, month, 2026-11, 2026-11-21 or 2026-11-*"),
        (["--config", "no such file.toml"], "cannot read no such file.toml: No such file or directory"),
        (["--data", "no such directory"], "there is no store in no such directory"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments: list[str], fault: str) -> None:
    result = run("meter", *arguments)
    assert (result.exit_code, result.output.count("\n")) == (2, 1), result.output
    assert fault in result.output


def test_a_row_that_is_damaged_is_named(data: Path) -> None:
    file = StoreFile(data / "broker.db")
    file.open()
    file.write(batch_of(metered=[("client", "2026-11", "torn", None, "{")]))
    file.close()
    result = run("meter", "--data", data)
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert "the meter's row of client 'torn' in 2026-11 is damaged" in result.output


def test_a_stopped_broker_has_left_what_its_clients_cost(tmp_path: Path) -> None:
    with BrokerProcess("--data", tmp_path / "data") as broker:
        client = broker.connect("sensor", 4)
        client.send(Publish(b"plant/1/speed", b"x" * 100, 0), Disconnect())
        broker.wait_for(" disconnected ")
        assert broker.stop() == 0
    (row,) = lines(tmp_path / "data", "sensor")
    assert row["received"]["payload"] == 100
    assert row["received"]["packets"]["CONNECT"][0] == 1
    (branch,) = lines(tmp_path / "data", "--topics", "--period", "day")
    assert (branch["name"], branch["received"]["payload"]) == ("plant/1", 100)


# -- from $SYS


@pytest.fixture(scope="module")
def running() -> Iterator[BrokerThread]:
    """A broker that runs, and has told of 100 bytes that a client has published."""
    with BrokerThread(limits={"sys_interval_s": 1}) as broker:
        with Client(broker.url, client_id="sensor") as client:
            client.publish("plant/1/speed", b"x" * 100, qos=1)
        broker.clock.advance(2 * ROUND_S)
        yield broker


@pytest.mark.parametrize("period", ["day", "month"])
def test_a_broker_that_runs_is_asked_for_its_totals_over_mqtt(running: BrokerThread, period: str) -> None:
    result = run("meter", "--url", running.url, "--period", period)
    assert result.exit_code == 0, result.output
    [row] = map(json.loads, result.output.splitlines())
    assert (row["kind"], row["period"], row["received"]["payload"]) == ("total", period, 100)
    assert row["total"] > row["received"]["mqtt"] + row["sent"]["mqtt"] > 100


def test_what_sys_does_not_tell_is_a_dash(running: BrokerThread) -> None:
    result = run("meter", "--sys", "-p", str(running.port), "--table")
    assert [line.split()[:4] for line in result.output.splitlines()] == [
        ["NAME", "PERIOD", "MESSAGES", "PAYLOAD"],
        ["(total)", "month", "–", "100"],
    ]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["sensor-1"], "$SYS has the totals of all clients alone, so it cannot go with CLIENT"),
        (["--topics"], "so it cannot go with --topics"),
        (["--data", "data"], "so it cannot go with --data"),
        (["--period", "2026-11"], "$SYS has the running day and month, not 2026-11; give --period day or month"),
    ],
)
def test_what_only_the_store_can_tell_is_refused_with_sys(arguments: list[str], fault: str) -> None:
    result = run("meter", "-h", "localhost", *arguments)
    assert (result.exit_code, result.output.count("\n")) == (2, 1), result.output
    assert fault in result.output


def test_a_broker_without_a_meter_in_sys_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter_command, "PATIENCE_S", 0.2)
    with BrokerThread() as broker:
        result = run("meter", "--url", broker.url)
    assert (result.exit_code, result.output.count("\n")) == (27, 1)
    assert "nothing has come from $SYS/broker/meter in 0.2 s: the broker has none" in result.output


def test_a_broker_that_is_not_there_is_named() -> None:
    result = run("meter", "--unix", "no such socket")
    assert (result.exit_code, result.output.count("\n")) == (14, 1), result.output
