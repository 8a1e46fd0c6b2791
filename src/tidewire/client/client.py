"""The asyncio client: publish, subscribe, ask and answer, over a connection that comes back by itself."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self, TypeVar, Unpack, cast

from tidewire.client.address import parse_url
from tidewire.client.errors import NotConnected, PublishError, QueueFull, SubscribeError, reason
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
    check_qos,
    encode_payload,
    publish_properties,
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
from tidewire.client.subscriptions import Subscriptions
from tidewire.engine.client_session import Publication
from tidewire.engine.received import Message
from tidewire.engine.reception import Interest
from tidewire.wire import properties as p
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
        self._subscriptions = Subscriptions(life)
        life.connected_again = self._connected_again
        life.ended = self._ended
        self._streams: list[Stream] = []
        self._stream_dropped = 0
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
            reception = self._session.reception
            reception.parked.clear()
            for interest in list(reception.interests.values()):
                if not interest.inboxes:
                    reception.forget(interest)

    @property
    def connected(self) -> bool:
        """Whether there is a connection right now."""
        return self._life.connected

    @property
    def client_id(self) -> str:
        """The Client Identifier, also when the server has assigned it."""
        return self._life.client_id

    @property
    def connack(self) -> Connack | None:
        """What the server said last when it let us in (3.2), its properties included."""
        return self._life.connack

    @property
    def statistics(self) -> Statistics:
        """Counters, as of now."""
        counted = self._life.outgoing.statistics
        reception = self._session.reception
        return Statistics(
            self._life.connects,
            counted.publish_sent,
            counted.publish_received,
            counted.bytes_sent,
            counted.bytes_received,
            self._session.publish_dropped,
            self._stream_dropped + sum(stream.dropped for stream in self._streams),
            reception.unclaimed,
            len(reception.parked),
            self._session.waiting_messages(),
        )

    async def wait_connected(self) -> None:
        """Wait until there is a connection. Raises what ended the client for good."""
        await self._life.wait_connected()

    async def reauthenticate(self) -> None:
        """Authenticate anew on the open connection (4.12.1). Raises ConnectionRefused."""
        await self._life.reauthenticate()

    async def run(self) -> None:
        """Serve the handlers until cancelled. Raises what failed: a handler's own exception, or a permanent refusal."""
        await self._life.wait_for_end()

    async def drain(self, timeout: float | None = None) -> None:
        """Wait until everything published is acknowledged and written. Raises TimeoutError after so many seconds."""
        life = self._life
        async with asyncio.timeout(timeout):
            while not self._session.is_idle() or life.unsent:
                life.check_open()
                await life.wait()
            await life.catch_up()

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
        life = self._life
        connection = self._session.connection
        if qos == 0 and not options and connection is not None and (not retain or life.retain_available):
            try:
                room = connection.publish_at_most_once(
                    topic, payload if type(payload) is bytes else encode_payload(payload), retain
                )
            except ProtocolViolation as violation:
                raise PublishError(violation.reason_code, f"publish to {topic!r}: {violation.detail}") from None
            if room:
                if not life.flush_planned:
                    life.plan_flush()
            else:
                await life.catch_up()
            return _SUCCESS
        life.check_open()
        if connection is None and self._settings.offline != "queue":
            self._check_online()
            if qos == 0:
                await life.wait_connected()
        while True:
            publication = self._publish(topic, payload, qos, retain, options)
            if publication is not None:
                break
            await life.wait()  # the queue is full
            life.check_open()
        if not life.connected and self._settings.offline == "queue":
            life.flush()
            return None
        return cast(ReasonCode, await publication)

    def publish_nowait(
        self, topic: str, payload: Any = b"", *, qos: int = 0, retain: bool = False, **options: Unpack[PublishOptions]
    ) -> Publication:
        """The same without waiting: await what it returns to know that the server has the message, now or later.

        Raises QueueFull when no more messages can wait, NotConnected with offline="raise", InvalidTopic.
        """
        life = self._life
        if self._session.connection is None:
            life.check_open()
            self._check_online()
        publication = self._publish(topic, payload, qos, retain, options)
        if publication is None:
            raise QueueFull(
                f"{self._session.waiting_messages()} messages wait; await client.publish() or client.drain(), "
                "or give the client a larger queue_messages"
            )
        return publication

    def _publish(self, topic: str, payload: Any, qos: int, retain: bool, options: PublishOptions) -> Publication | None:
        if type(payload) is not bytes:
            payload = encode_payload(payload)
        properties = b""
        expires_at = 0.0
        now = monotonic()
        if qos not in (0, 1, 2):
            check_qos(qos)
        if qos > self._life.maximum_qos or (retain and not self._life.retain_available):
            self._refuse(topic, qos)
        if options:
            if self._settings.level != V5:
                raise ValueError(
                    f"{', '.join(options)}: only MQTT 5.0 has properties; the client speaks {self._settings.version}"
                )
            given = publish_properties(options)
            expiry = given.integers.pop(p.MESSAGE_EXPIRY_INTERVAL, None)
            expires_at = now + expiry if expiry is not None else 0.0
            properties = given.encode_body()
        session = self._session
        if qos:
            publication = session.publish(topic, payload, qos, retain, properties, expires_at, now)
        else:
            publication = session.unsent(topic, payload, qos, retain, properties, expires_at)
            connection = session.connection
            if connection is None:
                if len(self._life.unsent) >= self._settings.queue_messages:
                    return None
                self._life.unsent.append(publication)
            elif connection.outbox_bytes > session.limits.outbox_bytes:
                return None
            else:
                self._send_unacknowledged(publication)
        if not self._life.flush_planned:
            self._life.plan_flush()
        return publication

    def _refuse(self, topic: str, qos: int) -> None:
        """CONNACK has said that the server takes no such message (3.2.2.3.4, 3.2.2.3.5)."""
        if qos > self._life.maximum_qos:
            code, told = ReasonCode.QOS_NOT_SUPPORTED, f"QoS {self._life.maximum_qos} at most"
        else:
            code, told = ReasonCode.RETAIN_NOT_SUPPORTED, "no retained messages"
        raise PublishError(code, f"publish to {topic!r}: {reason(code)}: the server takes {told}")

    def _send_unacknowledged(self, publication: Publication) -> None:
        connection = self._session.connection
        assert connection is not None
        now = monotonic()
        if 0.0 < publication.expires_at < now:
            self._life.dropped(publication, "expired")
            publication.settle(ReasonCode.UNSPECIFIED_ERROR)
        elif connection.put_publish(publication, b"", False, now):
            connection.outgoing.statistics.publish_sent += 1
            publication.settle(_SUCCESS)
        else:
            self._life.dropped(publication, "too large for the server")
            publication.settle(ReasonCode.PACKET_TOO_LARGE)

    def _check_online(self) -> None:
        if not self._life.connected and self._settings.offline == "raise":
            raise NotConnected("there is no connection at the moment")

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
        return Stream(self, requests, maximum, overflow, manual_ack, keep)

    async def unsubscribe(self, *topic_filters: str) -> None:
        """End subscriptions (3.10), those that an earlier life of the session has left behind as well.

        An open stream goes on with its other filters; one that has none left ends once it is read.
        """
        reception = self._session.reception
        requests = [Subscription(topic_filter).request(self._settings.level) for topic_filter in topic_filters]
        interests = [
            reception.interests.get(request.topic_filter) or reception.interest(request) for request in requests
        ]
        for stream in list(self._streams):
            for interest in interests:
                stream.withdraw(interest)
        await self.unsubscribe_interests(interests)

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

    # -- what streams call

    async def subscribe_stream(self, stream: Stream) -> None:
        """Attach a stream and SUBSCRIBE; returns when the server has answered, if need be on a later connection."""
        self._life.check_open()
        reception = self._session.reception
        self._streams.append(stream)
        answers: list[asyncio.Future[int]] = []
        for request in stream.requests:
            interest = reception.interest(request)
            stream.interests.append(interest)
            reception.attach(interest, stream)
            answers.append(self._subscriptions.subscribe(interest))
        stream.granted = list(await asyncio.gather(*answers))
        refused = {
            request.topic_filter.decode(): code
            for request, code in zip(stream.requests, stream.granted, strict=True)
            if code >= 0x80
        }
        if refused:
            raise SubscribeError(refused)

    async def unsubscribe_interests(self, interests: list[Interest]) -> None:
        """Tell the server of those that nobody wants any more."""
        unread = [interest for interest in dict.fromkeys(interests) if not interest.inboxes and not interest.leaving]
        await asyncio.gather(*[self._subscriptions.unsubscribe(interest) for interest in unread])

    def abandon_interests(self, interests: list[Interest]) -> None:
        """The same for those of a stream that never opened, without waiting; a lasting session keeps them."""
        if not self._settings.session_expiry and self._life.connected:
            known = self._session.reception.interests.values()  # without those that were refused
            for interest in dict.fromkeys(interests):
                if not interest.inboxes and not interest.leaving and interest in known:
                    self._subscriptions.unsubscribe(interest)

    def detach(self, stream: Stream, undone: list[Message]) -> None:
        """A stream is over; what its reader has not dealt with waits for the next one."""
        reception = self._session.reception
        for interest in stream.interests:
            reception.detach(interest, stream)
        reception.park(undone)
        if stream in self._streams:
            self._streams.remove(stream)
            self._stream_dropped += stream.dropped
        self.read_on()

    def detach_interest(self, stream: Stream, interest: Interest) -> None:
        """A stream goes on without one of its filters."""
        self._session.reception.detach(interest, stream)

    def new_future(self) -> asyncio.Future[None]:
        """What a stream's reader waits for."""
        return self._life.new_future()

    def is_outside(self, waiters: list[asyncio.Future[None]]) -> bool:
        """Whether somebody of these is not a task of the client's own."""
        return any(self._life.is_outside(waiter) for waiter in waiters)

    def read_on(self) -> None:
        """A stream has room again."""
        self._life.read_on()

    def read_on_if_below(self, stream: Stream) -> None:
        """The same, if it is half empty."""
        connection = self._session.connection
        if connection is not None and connection.reading_paused and len(stream.messages) * 2 <= stream.maximum:
            self._life.read_on()

    # -- what the life cycle calls

    def _connected_again(self) -> None:
        """CONNACK came: send what could not be sent."""
        unsent, self._life.unsent = self._life.unsent, []
        for publication in unsent:
            self._send_unacknowledged(publication)

    def _ended(self, error: BaseException) -> bool:
        told = False
        for stream in list(self._streams):
            told = stream.fail(error) or told
        return told

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
