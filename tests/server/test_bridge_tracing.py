"""Is a message's way across a bridge one span of its trace, and the parent of what becomes of it there?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the extra `telemetry` is not installed")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra `telemetry` is not installed")

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.client.helpers import run, take, take_until, until
from tests.client.proxy import Proxy
from tests.server.test_bridge import ALL, END, OUT, bridged, connected, the_bridge
from tests.server.test_tracing import attributes, parent
from tidewire import Client, NotConnected
from tidewire.server import bridge_pump, tracing
from tidewire.server.bridge_access import MARK
from tidewire.server.embedded import Broker
from tidewire.server.hooks import PublishRequest
from tidewire.wire.codes import ReasonCode

Exported = Callable[..., list[ReadableSpan]]

TRACED: dict[str, Any] = {"telemetry": {"endpoint": "http://collector.example", "messages": True, "sample_ratio": 0.0}}
"""For what a broker traces besides, there is no span."""

HUB: dict[str, Any] = {"bind": ["127.0.0.1"], "port": 0}


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Exported:
    """The spans of all brokers, once they have stopped: `exported("bridge")`, or all."""
    exporters: list[InMemorySpanExporter] = []

    def collector(endpoint: str) -> InMemorySpanExporter:
        exporters.append(InMemorySpanExporter())
        return exporters[-1]

    def spans(name: str = "") -> list[ReadableSpan]:
        found = [span for exporter in exporters for span in exporter.get_finished_spans()]
        return [span for span in found if span.name == name or not name]

    monkeypatch.setattr(tracing, "_Collector", collector)
    return spans


def named(span: ReadableSpan) -> str:
    """As a `traceparent` has it."""
    assert span.context is not None
    return f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01"


def parent_of(span: ReadableSpan) -> str:
    assert span.parent is not None
    return f"00-{span.parent.trace_id:032x}-{span.parent.span_id:016x}-01"


async def crossed(site: Broker) -> None:
    """A message was taken on the other side, and its span has ended."""
    bridge = the_bridge(site)
    await until(lambda: bridge._out.moved + bridge._in.moved == 1)


@pytest.mark.parametrize("direction", ["out", "in"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_crossing_is_a_span_between_those_of_the_two_brokers(exported: Exported, direction: str, qos: int) -> None:
    topics = {"filter": "a/#", "direction": direction, "qos": 2, "local_prefix": "here/", "remote_prefix": "there/"}
    arrived: list[list[tuple[str, str]]] = []

    async def test() -> None:
        async with Broker(HUB | TRACED) as hub, Broker(bridged(hub.url, topics) | TRACED) as site:
            await connected(site)
            ways = [(site, "here/", hub, "there/"), (hub, "there/", site, "here/")]
            source, before, target, after = ways[direction == "in"]
            async with Client(source.url) as writer, Client(target.url) as reader, reader.subscribe("#") as stream:
                given = [("tracestate", "vendor=1"), ("traceparent", parent()), ("room", "7")]
                await writer.publish(f"{before}a/b", b"on", qos=qos, user_properties=given)
                message = await stream.get()
                assert message.topic == f"{after}a/b"
                arrived.append([pair for pair in message.user_properties if pair[0] != MARK])
                await crossed(site)

    run(test())
    [hop] = exported("bridge")
    assert parent_of(hop) == parent()
    assert hop.kind is (SpanKind.PRODUCER if direction == "out" else SpanKind.CONSUMER)
    assert attributes(hop) == {
        "messaging.system": "mqtt",
        "messaging.operation.name": "publish" if direction == "out" else "receive",
        "messaging.destination.name": "there/a/b" if direction == "out" else "here/a/b",
        "messaging.client.id": attributes(hop)["messaging.client.id"],
        "messaging.message.body.size": 2,
        "mqtt.qos": qos,
        "mqtt.retain": False,
        "mqtt.bridge": "hub",
    }
    assert hop.status.status_code is StatusCode.UNSET
    assert arrived == [[("tracestate", "vendor=1"), ("traceparent", named(hop)), ("room", "7")]]
    assert {parent_of(span) for span in exported("publish")} == {parent(), named(hop)}
    assert hop.context is not None and hop.context.trace_state.get("vendor") == "1"


@pytest.mark.parametrize("traceparent", [parent("00"), "00-zz-yy-01", ""])
def test_a_message_that_asks_for_no_trace_crosses_as_it_is(exported: Exported, traceparent: str) -> None:
    async def test() -> None:
        async with (
            Broker(HUB) as hub,
            Broker(bridged(hub.url, OUT) | TRACED) as site,
            Client(site.url) as writer,
            Client(hub.url) as reader,
            reader.subscribe("a") as stream,
        ):
            await connected(site)
            for qos in (0, 1):
                await writer.publish("a", b"", qos=qos, user_properties=[("traceparent", traceparent)])
                assert (await stream.get()).user_properties[0] == ("traceparent", traceparent)

    run(test())
    assert exported() == []


def test_messages_cross_without_a_look_at_them_unless_they_are_to_be_traced(exported: Exported) -> None:
    async def test() -> None:
        untraced = {"telemetry": {"endpoint": "http://collector.example"}}
        async with (
            Broker(HUB) as hub,
            Broker(bridged(hub.url, ALL) | untraced) as site,
            Client(site.url) as writer,
            Client(hub.url) as reader,
            reader.subscribe("a") as stream,
        ):
            await connected(site)
            bridge = the_bridge(site)
            assert (bridge._out._target, bridge._in._target) == (bridge._remote, bridge._local)
            await writer.publish("a", b"", user_properties=[("traceparent", parent())])
            assert (await stream.get()).user_properties[0] == ("traceparent", parent())

    run(test())
    assert exported("bridge") == []


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_before_version_5_a_span_is_all_that_is_left_of_a_trace(exported: Exported, qos: int) -> None:
    async def test() -> None:
        async with (
            Broker(HUB) as hub,
            Broker(bridged(hub.url, OUT, version="3.1.1") | TRACED) as site,
            Client(site.url) as writer,
            Client(hub.url) as reader,
            reader.subscribe("a") as stream,
        ):
            await connected(site)
            await writer.publish("a", b"x", qos=qos, user_properties=[("traceparent", parent())], content_type="text")
            message = await stream.get()
            assert (message.payload, message.user_properties, message.content_type) == (b"x", [], None)
            await crossed(site)

    run(test())
    [hop] = exported("bridge")
    assert parent_of(hop) == parent()


def test_more_crossings_in_a_second_than_there_may_be_spans_keep_the_trace_that_they_had(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "SPANS_PER_SECOND", 0)

    async def test() -> None:
        async with (
            Broker(HUB) as hub,
            Broker(bridged(hub.url, OUT) | TRACED) as site,
            Client(site.url) as writer,
            Client(hub.url) as reader,
            reader.subscribe("a") as stream,
        ):
            await connected(site)
            await writer.publish("a", b"", qos=1, user_properties=[("traceparent", parent())])
            assert (await stream.get()).user_properties[0] == ("traceparent", parent())

    run(test())
    assert exported() == []


def test_a_crossing_that_the_other_broker_refuses_is_an_error_and_a_repeated_one_another_span(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge_pump, "QUOTA_PAUSE_S", 0.0)
    answers = [ReasonCode.NOT_AUTHORIZED, ReasonCode.QUOTA_EXCEEDED, None]

    async def test() -> None:
        def answer(request: PublishRequest) -> int | None:
            return answers.pop(0)

        async with (
            Broker(HUB, on_publish=answer) as hub,
            Broker(bridged(hub.url, OUT) | TRACED) as site,
            Client(site.url) as writer,
            Client(hub.url) as reader,
            reader.subscribe("a") as stream,
        ):
            await connected(site)
            for payload in (b"bad", b"good"):
                await writer.publish("a", payload, qos=1, user_properties=[("traceparent", parent())])
            assert await take(stream, 1) == [b"good"]
            await crossed(site)

    run(test())
    assert [span.status.status_code.name for span in exported("bridge")] == ["ERROR", "ERROR", "UNSET"]
    assert "not authorized" in str(exported("bridge")[0].status.description).lower()


def test_a_crossing_at_qos_0_that_finds_no_connection_is_an_error(exported: Exported) -> None:
    async def test() -> None:
        async with Broker(HUB) as hub, Broker(bridged(hub.url, OUT) | TRACED) as site:
            await connected(site)
            bridge = the_bridge(site)
            await bridge.close()
            with pytest.raises(NotConnected):
                await bridge._out._target.publish("a", b"", user_properties=[("traceparent", parent())])

    run(test())
    assert [span.status.status_code.name for span in exported("bridge")] == ["ERROR"]


@pytest.mark.parametrize("qos", [1, 2])
def test_a_crossing_is_one_span_however_often_the_network_is_cut_meanwhile(exported: Exported, qos: int) -> None:
    moved: list[int] = []

    async def test() -> None:
        async with (
            Broker(HUB) as hub,
            Proxy(hub.port) as proxy,
            Broker(bridged(proxy.url, OUT) | TRACED) as site,
            Client(site.url) as writer,
            Client(hub.url) as reader,
            reader.subscribe("a", qos=2, maximum=1000) as stream,
        ):
            await connected(site)
            for number in range(300):
                if number % 100 == 50:
                    proxy.cut()
                publication = writer.publish_nowait(
                    "a", str(number), qos=qos, user_properties=[("traceparent", parent())]
                )
                if number % 10 == 0:
                    await publication
            await writer.publish("a", END, qos=qos)
            await take_until(stream, END)
            pump = the_bridge(site)._out
            await until(lambda: not pump._crossing)
            moved.append(pump.moved)

    run(test())
    assert moved == [301]
    assert [span.status.status_code for span in exported("bridge")] == [StatusCode.UNSET] * 300
