"""The asyncio client: publish, subscribe, ask and answer, over a connection that comes back by itself."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self, TypeVar, Unpack, cast

from tidewire.client.address import parse_url
from tidewire.client.errors import NotConnected, PublishError, QueueFull
from tidewire.client.handlers import Handler, Pattern, call
from tidewire.client.lifecycle import Lifecycle
from tidewire.client.options import (
    Authentication,
    Backoff,
    Offline,
    OverflowPolicy,
    PublishOptions,
    Subscription,
    UserProperties,
    Version,
    Will,
    encode_payload,
)
from tidewire.client.outbox import SQLiteOutbox
from tidewire.client.requests import Replies
from tidewire.client.settings import (
    INFLIGHT_MAXIMUM,
    LARGEST_PACKET,
    QUEUE_BYTES,
    QUEUE_MESSAGES,
    RECEIVE_MAXIMUM,
    Settings,
)
from tidewire.client.stream import Stream
from tidewire.engine.client_session import Publication
from tidewire.engine.received import Message
from tidewire.wire.codes import V5, ReasonCode
from tidewire.wire.errors import ProtocolViolation
from tidewire.wire.packets import Connack

_SUCCESS: Final = ReasonCode.SUCCESS
_HandlerT = TypeVar("_HandlerT", bound=Handler)

STREAM_MESSAGES: Final = 1000
"""Messages that wait for a stream's reader before its overflow policy applies."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a client has done since it was made. Bytes are MQTT bytes."""

    connects: int
    publish_sent: int
    publish_received: int
    bytes_sent: int
    bytes_received: int
    publish_dropped: int
    """Messages of ours that were given up: expired, or too large for the server."""
    stream_dropped: int
    """Messages that open streams had no room for."""
    unclaimed: int
    """Messages that came for no stream."""
    parked: int
    """QoS 1 and 2 messages of a resumed session that wait, unacknowledged, for somebody to subscribe to them."""
    waiting: int
    """QoS 1 and 2 messages of ours that are not acknowledged."""


class Client:
    """A connection to an MQTT server, for `async with`; see docs/client.md.

    async with Client("mqtt://localhost") as client:
        await client.publish("boards/7/altitude", {"feet": 100}, qos=1)
    """

    def __init__(
        self,
        url: str = "mqtt://localhost",
        *,
        client_id: str = "",
        version: Version = "5.0",
        clean_start: bool | None = None,
        session_expiry: int = 0,
        keep_alive: int = 60,
        user_name: str | None = None,
        password: str | bytes | None = None,
        will: Will | None = None,
        tls: ssl.SSLContext | None = None,
        connect_timeout: float = 10.0,
        reconnect: Backoff | None = Backoff(),  # noqa: B008 (it is frozen)
        retry_first_connect: bool = False,
        offline: Offline = "wait",
        outbox: SQLiteOutbox | None = None,
        receive_maximum: int = RECEIVE_MAXIMUM,
        inflight_maximum: int = INFLIGHT_MAXIMUM,
        topic_alias_maximum: int = 0,
        maximum_packet_size: int = LARGEST_PACKET,
        queue_messages: int = QUEUE_MESSAGES,
        queue_bytes: int = QUEUE_BYTES,
        user_properties: UserProperties = (),
        request_response_information: bool = False,
        request_problem_information: bool = True,
        authentication: Authentication | None = None,
        headers: Mapping[str, str] | None = None,
        bind_address: str | None = None,
        drain_timeout: float = 5.0,
        on_state: Callable[[str, Exception | None], None] | None = None,
    ) -> None:
        """Nothing is opened yet. Raises ValueError for what cannot be or does not go together.

        `url`: mqtt://, mqtts://, ws://, wss:// or unix://, with user:password@ if need be. `session_expiry` (s,
        3.1.2.11.2): how long the server keeps the session without us; before 5.0 anything above 0 is Clean Session 0.
        `clean_start` (3.1.2.4) holds for the first connection; None: keep a session if there is one to keep.
        `keep_alive` in s (3.1.2.10), 0 for none. `reconnect`: the back-off, None to end with the connection.
        `retry_first_connect`: the first connect does not fail but tries again, unless the refusal is permanent.
        `offline`: what publish does without a connection: "wait" for it, "queue" the message and return, or "raise"
        NotConnected. `drain_timeout` (s): how long leaving the block may wait for acknowledgements. `on_state` is
        called with "connected" or "disconnected" and the error.
        """
        self._settings = Settings(
            parse_url(url),
            client_id,
            version,
            clean_start,
            session_expiry,
            keep_alive,
            user_name,
            password,
            will,
            tls,
            connect_timeout,
            reconnect,
            retry_first_connect,
            offline,
            outbox,
            receive_maximum,
            inflight_maximum,
            topic_alias_maximum,
            maximum_packet_size,
            queue_messages,
            queue_bytes,
            user_properties,
            request_response_information,
            request_problem_information,
            authentication,
            headers or {},
            bind_address,
            drain_timeout,
            on_state,
        )
        self._life = life = Lifecycle(self._settings)
        self._session = life.session
        self._traffic = life.traffic
        self._publishing = life.publishing
        self._subscriptions = life.subscriptions
        self._handlers: list[tuple[Stream, Callable[[Message], Coroutine[Any, Any, Any]]]] = []
        self._serving: list[asyncio.Task[None]] = []
        self._replies: Replies | None = None

    # -- the connection

    async def __aenter__(self) -> Self:
        await self.connect()
        self._life.own()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        life = self._life
        reason_code = 0
        if isinstance(error, Exception) and self._settings.will is not None:
            reason_code = ReasonCode.DISCONNECT_WITH_WILL_MESSAGE  # it failed: whoever waits for the will should know
        try:
            if kind is None and life.failure is None:
                for serving in self._serving:  # what they have not dealt with is not acknowledged
                    serving.cancel()
                await asyncio.gather(*self._serving, return_exceptions=True)
                await self.drain(self._settings.drain_timeout)
        except (TimeoutError, NotConnected):
            pass  # what is not acknowledged stays in the session and in the outbox
        finally:
            await self.disconnect(reason_code)
        if life.failure is not None and (life.uncancel() or kind is None):
            raise life.failure

    async def connect(self) -> None:
        """Connect, and subscribe for the handlers; from then on the client comes back by itself.

        Raises ConnectionFailed, ConnectionRefused if the server says no, SubscribeError if it says so to a handler.
        """
        await self._life.connect()
        try:
            await asyncio.gather(*(stream.open() for stream, _ in self._handlers))
        except BaseException:
            await self.disconnect()
            raise
        self._serving = [self._life.start(_serve(stream, handler)) for stream, handler in self._handlers]

    async def disconnect(self, reason_code: int = 0, *, session_expiry: int | None = None) -> None:
        """End the connection (3.14) and the client's life; 0x04 asks the server to publish the will all the same.

        `session_expiry` (s) changes how long the server keeps the session. Whoever still waits gets NotConnected.
        """
        if session_expiry is not None and self._settings.level != V5:
            raise ValueError("session_expiry can change with MQTT 5.0 only")
        await self._life.disconnect(reason_code, session_expiry)
        if not self._settings.session_expiry:  # the next connection begins another session
            self._subscriptions.forget_session()

    @property
    def connected(self) -> bool:
        """Whether there is a connection right now."""
        return self._life.connected

    @property
    def client_id(self) -> str:
        """The Client Identifier, also when the server has assigned it."""
        return self._life.server.client_id

    @property
    def connack(self) -> Connack | None:
        """What the server said last when it let us in (3.2), its properties included."""
        return self._life.server.connack

    @property
    def statistics(self) -> Statistics:
        """Counters, as of now."""
        counted = self._traffic.outgoing.statistics
        reception = self._session.reception
        return Statistics(
            self._life.server.connects,
            counted.publish_sent,
            counted.publish_received,
            counted.bytes_sent,
            counted.bytes_received,
            self._session.publish_dropped,
            self._subscriptions.dropped,
            reception.unclaimed,
            len(reception.parked),
            self._session.waiting_messages(),
        )

    async def wait_connected(self) -> None:
        """Wait until there is a connection. Raises what ended the client for good."""
        await self._life.wait_connected()

    async def reauthenticate(self) -> None:
        """Authenticate anew on the open connection (4.12.1). Raises ConnectionRefused."""
        await self._life.authenticator.reauthenticate()

    async def run(self) -> None:
        """Serve the handlers until cancelled. Raises what failed: a handler's own exception, or a permanent refusal."""
        await self._life.wait_for_end()

    async def drain(self, timeout: float | None = None) -> None:
        """Wait until everything published is acknowledged and written. Raises TimeoutError after so many seconds."""
        async with asyncio.timeout(timeout):
            while not self._session.is_idle():
                self._life.check_open()
                await self._traffic.wait()
            await self._traffic.catch_up()

    # -- publishing

    async def publish(
        self, topic: str, payload: Any = b"", *, qos: int = 0, retain: bool = False, **options: Unpack[PublishOptions]
    ) -> ReasonCode | None:
        """Publish a message (3.3): bytes as they are, text as UTF-8, None as nothing, anything else as JSON.

        At QoS 1 and 2 it returns when the server has the message, and what it said of it
        (`NO_MATCHING_SUBSCRIBERS`, for example); at QoS 0 when the socket has room for it. With offline="queue" and no
        connection: None, once it is queued, and in the outbox if there is one. Raises PublishError when it is refused,
        NotConnected, InvalidTopic.
        """
        traffic = self._traffic
        connection = self._session.connection
        if qos == 0 and not options and connection is not None and (not retain or self._publishing.retain_available):
            try:
                room = connection.publish_at_most_once(
                    topic, payload if type(payload) is bytes else encode_payload(payload), retain
                )
            except ProtocolViolation as violation:
                raise PublishError(violation.reason_code, f"publish to {topic!r}: {violation.detail}") from None
            if room:
                if not traffic.flush_planned:
                    traffic.plan_flush()
            else:
                await traffic.catch_up()
            return _SUCCESS
        life = self._life
        life.check_open()
        if connection is None and self._settings.offline != "queue":
            self._publishing.check_online()
            if qos == 0:
                await life.wait_connected()
        while True:
            publication = self._publishing.publish(topic, payload, qos, retain, options)
            if publication is not None:
                break
            await traffic.wait()  # the queue is full
            life.check_open()
        if not life.connected and self._settings.offline == "queue":
            traffic.flush()
            return None
        return cast(ReasonCode, await publication)

    def publish_nowait(
        self, topic: str, payload: Any = b"", *, qos: int = 0, retain: bool = False, **options: Unpack[PublishOptions]
    ) -> Publication:
        """The same without waiting: await what it returns to know that the server has the message, now or later.

        Raises QueueFull when no more messages can wait, NotConnected with offline="raise", InvalidTopic.
        """
        if self._session.connection is None:
            self._life.check_open()
            self._publishing.check_online()
        publication = self._publishing.publish(topic, payload, qos, retain, options)
        if publication is None:
            raise QueueFull(
                f"{self._session.waiting_messages()} messages wait; await client.publish() or client.drain(), "
                "or give the client a larger queue_messages"
            )
        return publication

    # -- subscribing

    def subscribe(
        self,
        *topic_filters: str | Subscription,
        qos: int = 0,
        no_local: bool = False,
        retain_as_published: bool = False,
        retain_handling: int = 0,
        manual_ack: bool = False,
        maximum: int = STREAM_MESSAGES,
        overflow: OverflowPolicy = "block",
        keep: bool = False,
    ) -> Stream:
        """A stream of the messages that match topic filters (3.8), for `async with`; the options are MQTT's.

        When `maximum` messages wait for the reader, `overflow` applies: "block" reads no more from the server until
        there is room (for all streams: they share a connection), "drop_oldest" and "drop_newest" count what they drop,
        "error" raises Overflow in the reader. `keep`: leaving the stream leaves the subscription in the session.
        Raises InvalidTopic.
        """
        if not topic_filters:
            raise ValueError('subscribe needs a topic filter: client.subscribe("sensors/#")')
        requests = [
            (
                topic_filter
                if isinstance(topic_filter, Subscription)
                else Subscription(topic_filter, qos, no_local, retain_as_published, retain_handling)
            ).request(self._settings.level)
            for topic_filter in topic_filters
        ]
        return Stream(self._subscriptions, requests, maximum, overflow, manual_ack, keep)

    async def unsubscribe(self, *topic_filters: str) -> None:
        """End subscriptions (3.10), those that an earlier life of the session has left behind as well.

        An open stream goes on with its other filters; one that has none left ends once it is read.
        """
        await self._subscriptions.end_all(
            [Subscription(topic_filter).request(self._settings.level) for topic_filter in topic_filters]
        )

    def on(self, pattern: str, *, qos: int = 0, **options: Any) -> Callable[[_HandlerT], _HandlerT]:
        """Decorate a handler for messages of a topic: `@client.on("boards/{board}/altitude")` calls it with the message
        and `board=…`. It may be a coroutine; messages come to it one after the other. Its exception ends the client and
        comes out of `run()` or the `async with` block. `options` are those of `subscribe`."""
        named = Pattern(pattern)

        def register(handler: _HandlerT) -> _HandlerT:
            async def serve(message: Message) -> None:
                await call(handler, named, message)

            self._add_handler(named.topic_filter, qos, options, serve)
            return handler

        return register

    def responder(self, pattern: str, *, qos: int = 0, **options: Any) -> Callable[[_HandlerT], _HandlerT]:
        """The same, and what the handler returns is published to the message's Response Topic with its Correlation Data
        (4.10): the other end of `request`. MQTT 5.0 only."""
        named = Pattern(pattern)

        def register(handler: _HandlerT) -> _HandlerT:
            async def serve(message: Message) -> None:
                answer = await call(handler, named, message)
                if message.response_topic is None:
                    return
                correlated: PublishOptions = {}
                if message.correlation_data is not None:
                    correlated["correlation_data"] = message.correlation_data
                await self.publish(message.response_topic, answer, qos=message.qos, **correlated)

            self._add_handler(named.topic_filter, qos, options, serve)
            return handler

        return register

    async def request(
        self,
        topic: str,
        payload: Any = b"",
        *,
        timeout: float = 10.0,
        qos: int = 0,
        **options: Unpack[PublishOptions],
    ) -> Message:
        """Publish a request and wait for the answer (4.10). Raises TimeoutError when none comes in so many seconds.

        Answers come to a topic below the server's Response Information, or `replies/` and the Client Identifier; with
        `response_topic` in the options you choose it.
        """
        if self._settings.level != V5:
            raise ValueError("request needs MQTT 5.0: before it there is no response topic")
        replies = self._replies
        if replies is None or replies.closed:
            self._life.check_open()
            replies = self._replies = Replies(self, self._life)
        answering = asyncio.timeout(timeout)
        try:
            async with answering:
                return await replies.ask(topic, payload, qos, options)
        except TimeoutError:
            if not answering.expired():
                raise
            raise TimeoutError(f"no answer to the request to {topic!r} in {timeout:g} s") from None

    def _add_handler(
        self,
        topic_filter: str,
        qos: int,
        options: dict[str, Any],
        handler: Callable[[Message], Coroutine[Any, Any, None]],
    ) -> None:
        stream = self.subscribe(topic_filter, qos=qos, **options)
        self._handlers.append((stream, handler))
        if not self._life.closed:
            self._serving.append(self._life.start(_open_and_serve(stream, handler)))


async def _open_and_serve(stream: Stream, handler: Callable[[Message], Coroutine[Any, Any, None]]) -> None:
    await stream.open()
    await _serve(stream, handler)


async def _serve(stream: Stream, handler: Callable[[Message], Coroutine[Any, Any, None]]) -> None:
    try:
        async for message in stream:
            await handler(message)
    finally:
        stream.leave()
