"""Which traces does OpenTelemetry get? A span for each connection, and for messages and calls that carry a trace.

| span | from … to | events in it |
|---|---|---|
| `connection` | a client is let in … its connection has ended | `subscribe`, `denied`, `dropped` |
| `refused` | at once | |
| `publish` | a client's message is taken … it was handed on | |
| `bridge` | a message is sent across … it was taken there (`bridge_tracing`) | |
| `GET /v1/…` | a call of the administration … its answer | |

Spans are gathered in a queue and sent by a thread; where either is too slow, spans are lost and nobody waits.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from tidewire import __version__
from tidewire.engine.ports import Events, Hooks, Principal
from tidewire.server.admin_messages import shown_properties
from tidewire.server.config import ConfigError
from tidewire.server.log import logger, version_name
from tidewire.server.telemetry_config import TelemetryConfig, telemetry_faults
from tidewire.wire.codes import V5

try:
    from opentelemetry.context import Context
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode, get_current_span, set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    raise ConfigError(
        f"[telemetry] needs {error.name}, which is not installed: pip install 'tidewire[telemetry]'"
    ) from None

if TYPE_CHECKING:
    from tidewire.engine.connection import Connection
    from tidewire.engine.message import Message
    from tidewire.engine.session import Session
    from tidewire.wire.packets import Connect, SubscriptionRequest

QUEUED_SPANS: Final = 4096
"""That wait to be sent, a few MB; further ones are lost."""

SENT_AT_ONCE: Final = 512
SEND_AFTER_S: Final = 1.0
"""How long a span may wait for others."""

ANSWER_S: Final = 2.0
"""How long the collector may take for what it is sent at once, tries that fail included."""

FAREWELL_S: Final = 5.0
"""How long the last spans may take when the broker stops: what is being sent, and what is left after it."""

SPANS_PER_SECOND: Final = 1000
"""That are begun: each takes some tens of microseconds of the loop, which a storm of strangers must not use up."""

TRACEPARENT: Final = "traceparent"
"""The user property of a traced message [W3C Trace Context, and its draft for MQTT]."""

_TRACEPARENT: Final = TRACEPARENT.encode()
_PROPAGATOR: Final = TraceContextTextMapPropagator()


class Tracing:
    """The traces of one broker."""

    def __init__(self, config: TelemetryConfig, exporter: SpanExporter | None = None) -> None:
        """`exporter` takes spans in place of the collector. Raises ConfigError."""
        for place, message in telemetry_faults(config):
            raise ConfigError(f"{'.'.join(map(str, place))}: {message}")
        if exporter is None:
            exporter = _Collector(config.endpoint)
        self._traces_messages = config.messages
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(config.sample_ratio)),
            resource=Resource.create({"service.name": config.service_name, "service.version": __version__}),
            shutdown_on_exit=False,  # `close` does it, and does not wait for ever
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, QUEUED_SPANS, SEND_AFTER_S * 1000.0, SENT_AT_ONCE, ANSWER_S * 1000.0)
        )
        self._tracer = self._provider.get_tracer("tidewire", __version__)
        self._second = 0
        self._begun = 0

    def around(self, events: Events, hooks: Hooks | None) -> tuple[Events, Hooks]:
        """What the engine reports and asks, traced on its way to these."""
        traced = _TracedEvents(self, events)
        return traced, _TracedHooks(self, traced, hooks, self._traces_messages)

    def begin(self, name: str, kind: SpanKind, attributes: Mapping[str, Any], parent: Context | None) -> Span | None:
        """A span that is recorded; None for one that is not."""
        second = int(monotonic())
        if second != self._second:
            if self._begun > SPANS_PER_SECOND:
                logger.warning("telemetry: %d spans in one second were left out", self._begun - SPANS_PER_SECOND)
            self._second, self._begun = second, 0
        self._begun += 1
        if self._begun > SPANS_PER_SECOND:
            return None
        span = self._tracer.start_span(name, parent if parent is not None else Context(), kind, attributes)
        return span if span.is_recording() else None

    def crossing(
        self,
        bridge: str,
        is_outward: bool,
        parent: Context,
        topic: str,
        client_identifier: str,
        payload: bytes,
        qos: int,
        retain: bool,
    ) -> Span | None:
        """A span for a message that crosses a bridge; topic and client identifier are those where it goes to."""
        kind, operation = (SpanKind.PRODUCER, "publish") if is_outward else (SpanKind.CONSUMER, "receive")
        attributes = _of_message(operation, topic, client_identifier, payload, qos, retain)
        return self.begin("bridge", kind, attributes | {"mqtt.bridge": bridge}, parent)

    @contextmanager
    def call(self, name: str, headers: Mapping[str, str]) -> Iterator[Span | None]:
        """A span for a call that carries a trace in its headers, or for which a new one begins."""
        span = self.begin(name, SpanKind.SERVER, {}, parent_in(headers))
        try:
            yield span
        finally:
            if span is not None:
                span.end()

    async def close(self) -> None:
        """Send what is left, within `FAREWELL_S`."""
        loop = asyncio.get_running_loop()
        sent = asyncio.Event()

        def send() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(sent.set)

        threading.Thread(target=send, name="tidewire: last spans", daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await sent.wait()


def parent_in(carrier: Mapping[str, str]) -> Context | None:
    """The trace that `traceparent` and `tracestate` name; None where there is none, or one that is no such thing."""
    if TRACEPARENT not in carrier:
        return None
    context = _PROPAGATOR.extract(carrier, Context())
    return context if get_current_span(context).get_span_context().is_valid else None


def traceparent_of(span: Span) -> str:
    """What names a span as the parent of what comes of it."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, set_span_in_context(span, Context()))
    return carrier[TRACEPARENT]


def fail(span: Span, detail: str) -> None:
    """End the span of what has failed."""
    span.set_status(Status(StatusCode.ERROR, detail))
    span.end()


class _TracedEvents(Events):
    """Spans of connections."""

    def __init__(self, tracing: Tracing, inner: Events) -> None:
        super().__init__()
        self._tracing = tracing
        self._inner = inner
        self._spans: dict[str, Span] = {}
        """By client identifier, of connections that are there: a session has one at most."""

    def note(self, client_identifier: str, name: str, attributes: Mapping[str, Any]) -> None:
        """An event of a client's connection."""
        span = self._spans.get(client_identifier)
        if span is not None:
            span.add_event(name, attributes)

    def connected(self, session: Session, peer: str, resumed: bool) -> None:
        connection = session.connection
        version = version_name(connection.version if connection is not None else V5)
        attributes = {
            **_peer(peer),
            "network.protocol.name": "mqtt",
            "network.protocol.version": version,
            "messaging.system": "mqtt",
            "messaging.client.id": session.client_identifier,
            "mqtt.session_present": resumed,
        }
        if session.principal.user_name is not None:
            attributes["user.name"] = session.principal.user_name
        span = self._tracing.begin("connection", SpanKind.SERVER, attributes, None)
        if span is not None:
            self._spans[session.client_identifier] = span
        self._inner.connected(session, peer, resumed)

    def disconnected(self, client_identifier: str, peer: str, reason_code: int, detail: str) -> None:
        span = self._spans.pop(client_identifier, None)
        if span is not None:
            _end(span, reason_code, detail)
        self._inner.disconnected(client_identifier, peer, reason_code, detail)

    def refused(self, client_identifier: str, peer: str, reason_code: int, detail: str) -> None:
        span = self._tracing.begin("refused", SpanKind.SERVER, _peer(peer), None)
        if span is not None:
            _end(span, reason_code, detail)
        self._inner.refused(client_identifier, peer, reason_code, detail)

    def denied(self, client_identifier: str, action: str, topic: bytes) -> None:
        self.note(client_identifier, "denied", {"mqtt.action": action, "mqtt.topic": topic.decode()})
        self._inner.denied(client_identifier, action, topic)

    def dropped(self, client_identifier: str, reason: str, messages: int) -> None:
        self.note(client_identifier, "dropped", {"mqtt.reason": reason, "mqtt.messages": messages})
        self._inner.dropped(client_identifier, reason, messages)

    def fault(self, client_identifier: str, error: BaseException) -> None:
        self._inner.fault(client_identifier, error)


class _TracedHooks(Hooks):
    """Subscriptions as events of their connection, and messages that carry a trace."""

    def __init__(self, tracing: Tracing, events: _TracedEvents, inner: Hooks | None, messages: bool) -> None:
        super().__init__()
        self._tracing = tracing
        self._events = events
        self._inner = inner
        self._publishing = inner if inner is not None and inner.publishes else None
        self._traces_messages = messages
        self.publishes = messages or self._publishing is not None

    def connecting(
        self, connection: Connection, packet: Connect, client_identifier: str, principal: Principal
    ) -> tuple[int, Principal]:
        if self._inner is None:
            return 0, principal
        return self._inner.connecting(connection, packet, client_identifier, principal)

    def publishing(self, session: Session, message: Message, is_will: bool, now: float) -> tuple[int, Message]:
        if self._traces_messages and _TRACEPARENT in message.properties:
            self._trace(session, message, is_will)
        if self._publishing is None:
            return 0, message
        return self._publishing.publishing(session, message, is_will, now)

    def subscribing(self, session: Session, request: SubscriptionRequest) -> int:
        granted = request.qos if self._inner is None else self._inner.subscribing(session, request)
        attributes = {"mqtt.topic_filter": request.topic_filter.decode(), "mqtt.qos": request.qos, "mqtt.code": granted}
        self._events.note(session.client_identifier, "subscribe", attributes)
        return granted

    def _trace(self, session: Session, message: Message, is_will: bool) -> None:
        carrier = dict(shown_properties(message.properties).user_properties)
        parent = parent_in(carrier)
        if parent is None:
            return
        topic, client_identifier = message.topic.decode(), session.client_identifier
        attributes = _of_message("publish", topic, client_identifier, message.payload, message.qos, message.retain)
        span = self._tracing.begin("publish", SpanKind.SERVER, attributes | {"mqtt.is_will": is_will}, parent)
        if span is not None:
            asyncio.get_running_loop().call_soon(span.end)  # when all that was read with it has been handed on


class _Collector(SpanExporter):
    """OTLP over HTTP, on the thread that sends; says once when it fails, and once when it works again."""

    def __init__(self, endpoint: str) -> None:
        url = urlsplit(endpoint)
        self._endpoint = endpoint if url.path not in ("", "/") else f"{endpoint.rstrip('/')}/v1/traces"
        logging.getLogger("opentelemetry").propagate = False  # what it would say, is said here
        self._inner = OTLPSpanExporter(self._endpoint, timeout=ANSWER_S)
        self._is_failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._inner.export(spans)
        is_failing = result is not SpanExportResult.SUCCESS
        if is_failing and not self._is_failing:
            logger.warning("telemetry: spans do not reach %s; is a collector listening there?", self._endpoint)
        elif self._is_failing and not is_failing:
            logger.info("telemetry: spans reach %s again", self._endpoint)
        self._is_failing = is_failing
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()  # type: ignore[no-untyped-call]


def _end(span: Span, reason_code: int, detail: str) -> None:
    span.set_attribute("mqtt.reason_code", reason_code)
    span.set_attribute("mqtt.detail", detail)
    if reason_code >= 0x80:
        span.set_status(Status(StatusCode.ERROR, detail))
    span.end()


def _of_message(
    operation: str, topic: str, client_identifier: str, payload: bytes, qos: int, retain: bool
) -> dict[str, Any]:
    return {
        "messaging.system": "mqtt",
        "messaging.operation.name": operation,
        "messaging.destination.name": topic,
        "messaging.client.id": client_identifier,
        "messaging.message.body.size": len(payload),
        "mqtt.qos": qos,
        "mqtt.retain": retain,
    }


def _peer(peer: str) -> dict[str, Any]:
    """`address:port`, or `unix`."""
    address, _, port = peer.rpartition(":")
    if not port.isdigit():
        return {"network.peer.address": peer}
    return {"network.peer.address": address.strip("[]"), "network.peer.port": int(port)}
