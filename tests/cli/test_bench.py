"""Does `tidewire bench` count what happened, say what limited it, and end by itself?"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import Running, run
from tests.process import BrokerProcess
from tidewire import Client
from tidewire.cli import bench_load
from tidewire.cli.bench_load import Load, limit
from tidewire.cli.bench_report import Report
from tidewire.wire.packets import Acknowledgement, Connack, Publish

MODES = ["publish", "subscribe", "round-trip", "connect"]


@pytest.fixture(scope="module")
def broker() -> Iterator[BrokerProcess]:
    with BrokerProcess() as process:
        yield process


def bench(broker: BrokerProcess, mode: str, *arguments: str) -> dict[str, Any]:
    """The result of a benchmark that went well."""
    ended = run("bench", mode, "-p", str(broker.port), "--json", *arguments)
    assert (ended.exit_code, ended.stderr) == (0, "")
    result: dict[str, Any] = json.loads(ended.stdout)
    assert (result["benchmark"], result["errors"]) == (mode, {})
    return result


@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_publish_counts_every_message(broker: BrokerProcess, qos: str) -> None:
    result = bench(broker, "publish", "--messages", "300", "--clients", "3", "--qos", qos, "--size", "5")
    assert (result["unit"], result["count"], result["sent"], result["missing"]) == ("messages", 300, 300, 0)
    assert result["bytes_per_second"] == pytest.approx(result["per_second"] * 5, rel=0.01)
    assert (result["latency_ms"] or {"count": 0})["count"] == (300 if qos != "0" else 0)


@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_subscribe_counts_every_delivery(broker: BrokerProcess, qos: str) -> None:
    result = bench(broker, "subscribe", "--messages", "200", "--clients", "3", "--publishers", "2", "--qos", qos)
    assert (result["count"], result["sent"], result["missing"]) == (600, 600, 0)


@pytest.mark.parametrize("qos", ["0", "1", "2"])
@pytest.mark.parametrize("version", ["5", "311"])
def test_round_trip_times_every_message(broker: BrokerProcess, qos: str, version: str) -> None:
    result = bench(broker, "round-trip", "--messages", "100", "--clients", "4", "--qos", qos, "-V", version)
    assert (result["count"], result["missing"]) == (100, 0)
    latency = result["latency_ms"]
    assert latency["count"] == 100
    percentiles = [latency[name] for name in ("min", "p50", "p90", "p99", "p99.9", "max")]
    assert percentiles[0] > 0
    assert percentiles == sorted(percentiles)


def test_connect_counts_every_connection(broker: BrokerProcess) -> None:
    result = bench(broker, "connect", "--clients", "40", "--in-flight", "7")
    assert (result["unit"], result["count"], result["latency_ms"]["count"]) == ("connections", 40, 40)


def test_each_client_has_a_client_identifier_of_its_own(broker: BrokerProcess) -> None:
    result = bench(broker, "round-trip", "--messages", "30", "--clients", "3", "--id", "me")
    assert (result["count"], result["missing"]) == (30, 0)


def test_a_rate_is_kept_and_named_as_the_limit(broker: BrokerProcess) -> None:
    result = bench(broker, "round-trip", "--messages", "100", "--rate", "500")
    assert result["seconds"] >= 0.19  # 99 intervals of 2 ms, less a timer's grain: never sooner
    assert result["count"] == 100


def test_what_others_publish_is_counted_as_well(broker: BrokerProcess) -> None:
    arguments = ["--publishers", "0", "--topic", "others/#", "--duration", "0.3", "--json"]
    with (
        broker.connect(version=5) as publisher,
        Running("bench", "subscribe", "-p", str(broker.port), *arguments) as running,
    ):
        while running.process.poll() is None:
            publisher.send(Publish(b"others/a", b"12345678", qos=1, packet_identifier=1))
            assert isinstance(publisher.receive(), Acknowledgement)
        assert running.end() == 0
    result = json.loads(running.output)
    assert result["count"] >= 1
    assert (result["sent"], result["missing"]) == (result["count"], 0)
    assert result["limited_by"] == "what others published"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_what_was_found_so_far(broker: BrokerProcess, number: signal.Signals) -> None:
    with broker.connect(version=5) as subscriber:
        subscriber.subscribe("early/#")
        arguments = ["--topic", "early/{client}", "--rate", "1000", "--duration", "600", "--json"]
        with Running("bench", "publish", "-p", str(broker.port), *arguments) as running:
            subscriber.receive()
            assert running.end(number) == 0
    assert json.loads(running.output)["count"] >= 1


def test_when_the_broker_goes_away_what_was_found_is_shown_with_the_reason() -> None:
    with BrokerProcess() as broker, broker.connect(version=5) as subscriber:
        subscriber.subscribe("cut/#")
        arguments = ["--topic", "cut/{client}", "--rate", "1000", "--duration", "600"]
        with Running("bench", "publish", "-p", str(broker.port), *arguments) as running:
            subscriber.receive()
            broker.kill()
            assert running.end() == 7
    assert "  failed " in running.output
    assert "the connection was lost" in running.output


def test_the_table_is_for_people(broker: BrokerProcess) -> None:
    ended = run("bench", "round-trip", "-h", "127.0.0.1", "-p", str(broker.port), "--messages", "10")
    assert ended.exit_code == 0
    first, *lines = ended.stdout.splitlines()
    assert first == f"round-trip · mqtt://127.0.0.1:{broker.port} · MQTT 5.0 · 1 client · QoS 0 · 64 B"
    assert [line[2:14].strip() for line in lines] == [
        "messages", "rate", "payload", "round trip", "this process", "limited by"
    ]  # fmt: skip


def test_what_the_broker_refuses_is_counted_and_told(tmp_path: Path) -> None:
    config = tmp_path / "broker.toml"
    config.write_text('port = 0\n[[access.rules]]\neffect = "allow"\ntopic = "open/#"\n')
    with BrokerProcess("--config", config) as broker:
        ended = run("bench", "publish", "-p", str(broker.port), "--qos", "1", "--messages", "5", "--topic", "shut")
        assert ended.exit_code == 135
        assert "  failed        5 × " in ended.stdout
        assert "not authorized" in ended.stdout
        ended = run("bench", "subscribe", "-p", str(broker.port), "--topic", "shut")
        assert ended.exit_code == 135
        assert (ended.stdout, ended.stderr.count("\n")) == ("", 1)


@pytest.mark.parametrize("mode", MODES)
def test_without_a_broker_it_says_so(mode: str) -> None:
    ended = run("bench", mode, "--unix", "/no/such/socket")
    assert ended.exit_code == 14
    assert "/no/such/socket" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["round-trip", "--size", "7"], "a round trip carries its time in its payload; take at least --size 8"),
        (["round-trip", "--clients", "2", "--topic", "a"], "each client needs a topic of its own here; put {client}"),
        (["publish", "--topic", "a/#"], "--topic: topic name 'a/#' must not contain a wildcard"),
        (["subscribe", "--publishers", "0", "--topic", "a/#/b"], "--topic: # must be the whole last level"),
        (["subscribe", "--publishers", "0", "--messages", "5"], "without publishers, take --duration"),
        (["connect", "--clients", "1000000000"], "1000000000 clients need 1000000064 open files"),
        (["publish", "--clients", "0"], "0 is not a whole number from 1 on"),
        (["publish", "--duration", "0"], "0.0 is not a number above 0"),
        (["publsih"], "No such command 'publsih'"),
    ],
)
def test_a_wrong_command_line_is_one_clear_line(arguments: list[str], said: str) -> None:
    ended = run("bench", *arguments)
    assert ended.exit_code == 2
    assert (ended.stdout, ended.stderr.count("\n")) == ("", 1)
    assert said in ended.stderr


LOAD = Load(
    benchmark="publish",
    make_client=Client,
    url="mqtt://localhost",
    version="5.0",
    run="1f",
    clients=1,
    publishers=0,
    duration_s=10.0,
    messages=None,
    rate=0.0,
    size_bytes=64,
    qos=0,
    topic="bench/{run}/{client}",
    in_flight=100,
    hold_s=0.0,
)


@pytest.mark.parametrize(
    ("load", "cpu_share", "per_second", "said"),
    [
        (LOAD, 0.95, 5e5, "this process: its core was busy, and the broker may well do more"),
        (replace(LOAD, rate=100), 0.1, 99.0, "the rate asked for"),
        (replace(LOAD, rate=100), 0.1, 50.0, "the broker or the network"),
        (replace(LOAD, rate=100), 0.95, 50.0, "this process: its core was busy"),
        (LOAD, 0.1, 5e5, "the broker or the network"),
        (replace(LOAD, qos=1), 0.1, 5e5, "100 in flight per client are too few"),
        (replace(LOAD, benchmark="connect"), 0.1, 5e5, "100 in flight are too few"),
        (replace(LOAD, benchmark="subscribe"), 0.1, 5.0, "what others published"),
    ],
)
def test_it_says_what_limited_it(load: Load, cpu_share: float, per_second: float, said: str) -> None:
    assert said in limit(load, cpu_share, per_second)


def test_a_topic_has_the_run_and_the_client_in_it() -> None:
    assert (LOAD.topic_of(3), LOAD.topic_of("+")) == ("bench/1f/3", "bench/1f/+")


def test_a_broker_that_stops_answering_does_not_hold_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_load, "GRACE_S", 0.0)

    async def never_acknowledge(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(Connack().encode(5))
        await reader.read()
        writer.close()

    async def measured() -> bench_load.Tally:
        async with await asyncio.start_server(never_acknowledge, "127.0.0.1", 0) as server:
            url = f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            return await bench_load.measure(replace(load, make_client=lambda: Client(url, reconnect=None)), print)

    load = replace(LOAD, qos=1, duration_s=0.05)
    report = asyncio.run(measured()).report(load)
    assert report.count == 0
    assert report.sent == report.missing > 0


DOCUMENT = (Path(__file__).parents[2] / "docs" / "bench.md").read_text(encoding="utf-8")


def test_every_field_of_the_json_is_documented() -> None:
    for name in Report.__struct_encode_fields__:
        assert f"`{name}`" in DOCUMENT


@pytest.mark.parametrize("line", re.findall(r"^\$ tidewire (bench .*)", DOCUMENT, re.MULTILINE))
def test_every_documented_command_works(broker: BrokerProcess, line: str) -> None:
    ended = run(*shlex.split(line), "-p", str(broker.port), "--duration", "0.2")
    assert (ended.exit_code, ended.stderr) == (0, "")
    assert "limited" in ended.stdout
