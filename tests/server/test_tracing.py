"""Does a collector learn of connections, subscriptions, traced messages and calls, and does nobody wait for it?"""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the extra `telemetry` is not installed")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra `telemetry` is not installed")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from tests.process import BrokerProcess
from tests.server.administered import Setup, administered, run
from tidewire import Client
from tidewire.server import tracing
from tidewire.server.config import Config, ConfigError
from tidewire.server.embedded import Broker
from tidewire.server.hooks import PublishRequest
from tidewire.server.telemetry_config import TelemetryConfig
from tidewire.server.tracing import Tracing
from tidewire.wire.packets import Disconnect, Publish, Subscribe, SubscriptionRequest
from tidewire.wire.properties import Properties

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def parent(flags: str = "01") -> str:
    return f"00-{TRACE}-{PARENT}-{flags}"


def publish(traceparent: str | None, topic: bytes = b"a/b", qos: int = 0) -> Publish:
    packet = Publish(topic, b"on", qos, packet_identifier=qos and 1, properties=Properties())
    if traceparent is not None:
        packet.properties.user_properties = [("room", "7"), ("traceparent", traceparent)]
    return packet


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Takes the spans in place of a collector."""
    memory = InMemorySpanExporter()
    monkeypatch.setattr(tracing, "_Collector", lambda endpoint: memory)
    return memory


@asynccontextmanager
async def traced(**settings: Any) -> AsyncIterator[Setup]:
    async with administered(telemetry=TelemetryConfig("http://collector.example", **settings)) as setup:
        yield setup


def spans(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    """Those of a broker that has stopped."""
    return [span for span in exporter.get_finished_spans() if span.name == name]


def attributes(span: Any) -> dict[str, Any]:
    return dict(span.attributes or {})


# -- connections


def test_a_connection_is_a_span_with_its_subscriptions(exporter: InMemorySpanExporter) -> None:
    async def work() -> None:
        async with traced(service_name="plant") as setup:
            client = setup.client("lamp")
            client.send(Subscribe(1, [SubscriptionRequest(b"a/#", 1), SubscriptionRequest(b"b", 2)]))
            client.send(Disconnect())
            setup.client("door")

    run(work())
    lamp, door = spans(exporter, "connection")
    assert attributes(lamp) == {
        "network.peer.address": "192.0.2.7",
        "network.peer.port": 4711,
        "network.protocol.name": "mqtt",
        "network.protocol.version": "5.0",
        "messaging.system": "mqtt",
        "messaging.client.id": "lamp",
        "mqtt.session_present": False,
        "mqtt.reason_code": 0,
        "mqtt.detail": attributes(lamp)["mqtt.detail"],
    }
    assert [(event.name, event.attributes and dict(event.attributes)) for event in lamp.events] == [
        ("subscribe", {"mqtt.topic_filter": "a/#", "mqtt.qos": 1, "mqtt.code": 1}),
        ("subscribe", {"mqtt.topic_filter": "b", "mqtt.qos": 2, "mqtt.code": 2}),
    ]
    assert lamp.parent is None
    assert lamp.resource.attributes["service.name"] == "plant"
    assert attributes(door)["messaging.client.id"] == "door"
    assert (lamp.status.status_code, door.status.status_code) == (StatusCode.UNSET, StatusCode.ERROR)  # 0x8B


def test_one_that_takes_a_session_over_has_a_span_of_its_own(exporter: InMemorySpanExporter) -> None:
    async def work() -> None:
        async with traced() as setup:
            setup.client("lamp")
            setup.client("lamp", version=4).send(Disconnect())

    run(work())
    first, second = spans(exporter, "connection")
    assert [attributes(span)["network.protocol.version"] for span in (first, second)] == ["5.0", "3.1.1"]
    assert [attributes(span)["mqtt.reason_code"] for span in (first, second)] == [0x8E, 0]


def test_who_is_refused_is_a_span_with_an_error(exporter: InMemorySpanExporter) -> None:
    async def work() -> None:
        async with traced() as setup:
            setup.peer().send(Publish(b"a", b""))

    run(work())
    [span] = spans(exporter, "refused")
    assert (span.status.status_code, attributes(span)["mqtt.reason_code"]) == (StatusCode.ERROR, 0x82)


def test_no_connection_is_traced_that_is_not_in_the_sample(exporter: InMemorySpanExporter) -> None:
    async def work() -> None:
        async with traced(sample_ratio=0.0) as setup:
            setup.client("lamp").send(Subscribe(1, [SubscriptionRequest(b"a", 0)]), Disconnect())

    run(work())
    assert exporter.get_finished_spans() == ()


def test_more_spans_in_a_second_than_there_may_be_are_left_out(
    exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "SPANS_PER_SECOND", 3)
    monkeypatch.setattr(tracing, "monotonic", lambda: 100.0)

    async def work() -> None:
        async with traced() as setup:
            for number in range(5):
                setup.client(f"client {number}").send(Disconnect())

    run(work())
    assert len(spans(exporter, "connection")) == 3


# -- messages


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_message_that_carries_a_trace_is_a_span_of_it(exporter: InMemorySpanExporter, qos: int) -> None:
    async def work() -> None:
        async with traced(messages=True, sample_ratio=0.0) as setup:  # the message says that it is sampled
            setup.client("lamp").send(publish(parent(), qos=qos), publish(None))
            await asyncio.sleep(0)  # a span ends when the loop's pass does

    run(work())
    [span] = exporter.get_finished_spans()
    assert span.name == "publish"
    assert span.context is not None and span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    assert attributes(span)["messaging.destination.name"] == "a/b"
    assert (attributes(span)["mqtt.qos"], attributes(span)["messaging.message.body.size"]) == (qos, 2)


@pytest.mark.parametrize("traceparent", [parent("00"), "", "00-zz-yy-01", f"00-{'0' * 32}-{PARENT}-01", "x" * 5000])
def test_a_message_that_asks_for_no_trace_or_not_rightly_is_none(
    exporter: InMemorySpanExporter, traceparent: str
) -> None:
    async def work() -> None:
        async with traced(messages=True, sample_ratio=1.0) as setup:
            reader = setup.client("door")
            reader.send(Subscribe(1, [SubscriptionRequest(b"#", 0)]))
            setup.client("lamp").send(publish(traceparent))
            await asyncio.sleep(0)
            assert any(isinstance(packet, Publish) for packet in reader.received)

    run(work())
    assert spans(exporter, "publish") == []


def test_messages_are_left_alone_unless_they_are_to_be_traced(exporter: InMemorySpanExporter) -> None:
    async def work() -> None:
        async with administered() as plain, traced() as setup, traced(messages=True) as looking:
            assert (plain.server.broker.hooks, plain.server.broker.publish_hooks) == (None, None)
            assert setup.server.broker.publish_hooks is None  # runs of QoS 0 stay whole
            assert looking.server.broker.publish_hooks is not None
            setup.client("lamp").send(publish(parent()))

    run(work())
    assert spans(exporter, "publish") == []


def test_a_run_of_messages_at_qos_0_arrives_as_it_was_sent(exporter: InMemorySpanExporter) -> None:
    async def work() -> None:
        async with traced(messages=True) as setup:
            reader = setup.client("door")
            reader.send(Subscribe(1, [SubscriptionRequest(b"#", 0)]))
            setup.client("lamp").send(*[publish(parent())] * 5)
            await asyncio.sleep(0)
            got = [packet for packet in reader.received if isinstance(packet, Publish)]
            assert [packet.properties.user_properties for packet in got] == [
                publish(parent()).properties.user_properties
            ] * 5

    run(work())
    assert len(spans(exporter, "publish")) == 5


def test_what_the_program_says_still_holds(exporter: InMemorySpanExporter) -> None:
    async def work() -> None:
        asked: list[str] = []

        def on_publish(request: PublishRequest) -> int | None:
            asked.append(request.topic)
            return None

        config = Config(bind=["127.0.0.1"], port=0, telemetry=TelemetryConfig("http://collector.example"))
        async with (
            Broker(config, on_publish=on_publish, on_subscribe=lambda request: 0) as broker,
            Client(broker.url) as client,
            client.subscribe("a", qos=2),
        ):
            await client.publish("a", b"", qos=1)
        assert asked == ["a"]

    run(work())
    [span] = spans(exporter, "connection")
    assert [dict(event.attributes or {})["mqtt.code"] for event in span.events] == [0]


# -- calls


def test_a_call_of_the_administration_is_a_span_of_who_calls(exporter: InMemorySpanExporter, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef" * 2)
    token.chmod(0o600)

    async def work() -> None:
        settings = {"token_file": str(token), "port": 0}
        telemetry = {"endpoint": "http://collector.example"}
        async with Broker({"bind": ["127.0.0.1"], "port": 0, "admin": settings, "telemetry": telemetry}) as broker:
            assert broker.server.admin_server is not None
            headers = {"Authorization": f"Bearer {token.read_text()}", "traceparent": parent()}
            url = f"{broker.server.admin_server.urls[0]}/v1/clients"
            request = urllib.request.Request(url, headers=headers)
            with await asyncio.to_thread(urllib.request.urlopen, request) as response:
                assert json.load(response) == []

    run(work())
    [span] = exporter.get_finished_spans()
    assert (span.name, attributes(span)) == ("GET /v1/clients", {"http.response.status_code": 200})
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}" == TRACE


# -- the collector


class Collector:
    """Takes OTLP over HTTP."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.paths: list[str] = []
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.paths.append(self.path)
                outer.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    running = Collector()
    thread = threading.Thread(target=running.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.server.shutdown()
    thread.join()
    running.server.server_close()


Served = Callable[[str], BrokerProcess]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A broker in a process of its own that sends its traces to this endpoint."""
    running: list[BrokerProcess] = []

    def serve(endpoint: str) -> BrokerProcess:
        config = tmp_path / "broker.toml"
        config.write_text(
            'bind = ["127.0.0.1"]\nport = 0\ndurability = "memory"\n'
            f'[telemetry]\nendpoint = "{endpoint}"\nservice_name = "plant"\nmessages = true\n'
        )
        running.append(BrokerProcess("--config", config))
        return running[0]

    yield serve
    for broker in running:
        broker.kill()


def live(broker: BrokerProcess) -> None:
    """A client comes, publishes with a trace, and goes; then the broker stops."""
    client = broker.connect("lamp", 5)
    client.send(publish(parent()), Disconnect())
    broker.wait_for(" disconnected ")
    assert broker.stop() == 0


@pytest.mark.parametrize("path", ["", "/", "/v1/traces"])
def test_a_collector_gets_the_spans_over_http(collector: Collector, served: Served, path: str) -> None:
    live(served(collector.url + path))
    resources = [each for request in collector.requests for each in request.resource_spans]
    assert {
        value.value.string_value
        for each in resources
        for value in each.resource.attributes
        if value.key == "service.name"
    } == {"plant"}
    found = {span.name: span for each in resources for scope in each.scope_spans for span in scope.spans}
    assert set(found) == {"connection", "publish"}
    assert (found["publish"].trace_id.hex(), found["publish"].parent_span_id.hex()) == (TRACE, PARENT)
    assert set(collector.paths) == {"/v1/traces"}


def test_a_collector_that_is_not_there_is_said_once_and_nobody_waits_for_it(served: Served) -> None:
    broker = served("http://127.0.0.1:1/v1/traces")
    live(broker)
    assert broker.lines_with("telemetry:") == [
        "telemetry: spans do not reach http://127.0.0.1:1/v1/traces; is a collector listening there?"
    ]
    assert "Traceback" not in broker.log


def test_a_collector_that_refuses_is_said_and_so_is_when_it_takes_them_again(collector: Collector) -> None:
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for level in ("warning", "info"):
            patch.setattr(tracing.logger, level, lambda text, *words: said.append(text % words))
        sending = tracing._Collector(collector.url)
        for status in (400, 400, 200, 200, 400):
            collector.status = status
            sending.export([])
        sending.shutdown()
    reach = f"reach {collector.url}/v1/traces"
    failed = f"telemetry: spans do not {reach}; is a collector listening there?"
    assert said == [failed, f"telemetry: spans {reach} again", failed]


def test_an_endpoint_that_is_none_is_a_fault_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match=r"telemetry\.endpoint: 'nowhere' is no URL of a collector"):
        Tracing(TelemetryConfig("nowhere"))
