"""Which spans does a bridge have? A `bridge` for each crossing of a message that carries a trace.

It lasts until the broker that the message goes to has it. The `traceparent` that travels on names it, so that what
becomes of the message there is its child. Pumps know nothing of it: they publish to a target that does this on the way.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Unpack

from tidewire.client.errors import NotConnected, PublishError
from tidewire.client.options import PublishOptions
from tidewire.engine.client_session import Publication
from tidewire.server.bridge_clients import BridgeClient
from tidewire.server.tracing import TRACEPARENT, fail, parent_in, traceparent_of
from tidewire.wire.errors import InvalidTopic
from tidewire.wire.packets import Connack

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from tidewire.server.server import Server

NOT_TAKEN: Final = (PublishError, InvalidTopic)
"""What a message of QoS 1 or 2 can fail with. One of QoS 0 also fails where there is no connection."""


class TracedTarget:
    """The end of a bridge that messages go to, with a span for each of them that carries a trace."""

    has_properties: Final = True
    """It looks at them, also where they do not travel on: before MQTT 5.0."""

    def __init__(self, inner: BridgeClient, server: Server, bridge: str, is_outward: bool) -> None:
        """`bridge` is its name; outward is to the other broker."""
        self._inner = inner
        self._server = server
        self._bridge = bridge
        self._is_outward = is_outward

    @property
    def connack(self) -> Connack | None:
        return self._inner.connack

    async def publish(
        self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False, **options: Unpack[PublishOptions]
    ) -> object:
        span, options = self._begin(topic, payload, qos, retain, options)
        if span is None:
            return await self._inner.publish(topic, payload, qos=qos, retain=retain, **options)
        with _failing(span, *NOT_TAKEN, NotConnected):
            answer = await self._inner.publish(topic, payload, qos=qos, retain=retain, **options)
            span.end()
            return answer

    def publish_nowait(
        self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False, **options: Unpack[PublishOptions]
    ) -> Publication | _TracedPublication:
        span, options = self._begin(topic, payload, qos, retain, options)
        if span is None:
            return self._inner.publish_nowait(topic, payload, qos=qos, retain=retain, **options)
        with _failing(span, *NOT_TAKEN):
            publication = self._inner.publish_nowait(topic, payload, qos=qos, retain=retain, **options)
            return _TracedPublication(publication, span)

    def _begin(
        self, topic: str, payload: bytes, qos: int, retain: bool, options: PublishOptions
    ) -> tuple[Span | None, PublishOptions]:
        """A span if there is to be one, and the properties that travel on."""
        properties = options.get("user_properties", [])
        span = None
        parent = parent_in(dict(properties))
        tracing = self._server.tracing
        if parent is not None and tracing is not None:
            client_identifier = self._inner.client_id
            span = tracing.crossing(
                self._bridge, self._is_outward, parent, topic, client_identifier, payload, qos, retain
            )
        if not self._inner.has_properties:
            return span, {}
        if span is not None:
            hop = traceparent_of(span)
            options["user_properties"] = [(name, hop if name == TRACEPARENT else value) for name, value in properties]
        return span, options


class _TracedPublication:
    """Awaited as the publication is, and as often; its span ends with the answer."""

    def __init__(self, publication: Publication, span: Span) -> None:
        self._publication = publication
        self._span = span

    def __await__(self) -> Generator[Any, Any, Any]:
        with _failing(self._span, *NOT_TAKEN):
            answer = yield from self._publication.__await__()
            self._span.end()
            return answer


@contextmanager
def _failing(span: Span, *failures: type[Exception]) -> Iterator[None]:
    """End the span of a message that fails so. What else may happen is the end of a connection, or of the queue's
    room, and not the message's: it goes on, or is offered again."""
    try:
        yield
    except failures as error:
        fail(span, str(error))
        raise
