"""The blocking client: `tidewire.Client` with the same names, on a thread of its own, for programs without asyncio.

from tidewire.sync import Client

with Client("mqtt://localhost") as client:
    client.publish("boards/7/altitude", {"feet": 100}, qos=1)
    with client.subscribe("sensors/#") as stream:
        for message in stream:
            print(message.topic, message.text())

Every method may be called from several threads. An error comes out of the call that it belongs to, except that of a
QoS 0 message that was on its way already: it comes out of the next `publish` or `drain`, or of the end. One that ends
the client comes out of every call from then on. None of the user's code runs on the client's thread or under a lock.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Concatenate, Final, NamedTuple, ParamSpec, Self, TypeVar, Unpack, cast

from tidewire.client import stream as asynchronous_stream
from tidewire.client.client import STREAM_MESSAGES, Statistics
from tidewire.client.client import Client as AsynchronousClient
from tidewire.client.errors import NotConnected
from tidewire.client.handlers import Handler, Pattern
from tidewire.client.loop_thread import LoopThread
from tidewire.client.options import OverflowPolicy, PublishOptions, Subscription, encode_payload
from tidewire.engine.received import Message
from tidewire.wire.codes import ReasonCode
from tidewire.wire.packets import Connack

_T = TypeVar("_T")
_P = ParamSpec("_P")
_HandlerT = TypeVar("_HandlerT", bound=Handler)

BURST_MESSAGES: Final = 256
"""Messages that one change of threads brings: it costs as much as dozens of them."""


def _takes_the_same(
    source: Callable[Concatenate[Any, _P], None],
) -> Callable[[Callable[..., None]], Callable[Concatenate[Any, _P], None]]:
    """For type checkers: the decorated function takes what `source` takes."""
    return lambda function: cast(Callable[Concatenate[Any, _P], None], function)


class Client:
    """A connection to an MQTT server, for `with`. The arguments are those of `tidewire.Client`."""

    @_takes_the_same(AsynchronousClient.__init__)
    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._client = AsynchronousClient(*arguments, **options)
        self._thread: LoopThread | None = None
        self._handlers: list[_Handled] = []

    # -- the connection

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._leave(lambda: self._client.__aexit__(kind, error, traceback), error)

    def connect(self) -> None:
        """Connect. Raises ConnectionFailed, or ConnectionRefused if the server says no."""
        if self._thread is not None:
            raise RuntimeError("the client is connected already")
        self._thread = LoopThread(self._client)
        try:
            self._call(self._client.connect())
        except BaseException:
            self._end()
            raise

    def disconnect(self, reason_code: int = 0, *, session_expiry: int | None = None) -> None:
        """End the connection (3.14) and the client's thread."""
        if self._thread is not None:
            self._leave(lambda: self._client.disconnect(reason_code, session_expiry=session_expiry))

    @property
    def connected(self) -> bool:
        """Whether there is a connection right now."""
        return self._client.connected

    @property
    def client_id(self) -> str:
        """The Client Identifier, also when the server has assigned it."""
        return self._client.client_id

    @property
    def connack(self) -> Connack | None:
        """What the server said last when it let us in (3.2)."""
        return self._client.connack

    @property
    def statistics(self) -> Statistics:
        """Counters, as of now."""
        return self._client.statistics

    def wait_connected(self, timeout: float | None = None) -> None:
        """Wait until there is a connection; TimeoutError after so many seconds."""
        self._call(asyncio.wait_for(self._client.wait_connected(), timeout))

    def reauthenticate(self) -> None:
        """Authenticate anew on the open connection (4.12.1)."""
        self._call(self._client.reauthenticate())

    def drain(self, timeout: float | None = None) -> None:
        """Wait until everything published is acknowledged and written. Raises TimeoutError after so many seconds."""
        thread = self._running()

        async def drain() -> None:
            async with asyncio.timeout(timeout):
                await thread.gathered.in_turn(self._client.drain)

        thread.call(drain())
        thread.gathered.raise_late_error()

    # -- publishing

    def publish(
        self, topic: str, payload: Any = b"", *, qos: int = 0, retain: bool = False, **options: Unpack[PublishOptions]
    ) -> ReasonCode | None:
        """Publish, and wait as `tidewire.Client.publish` does; at QoS 0 until it is on its way to the thread.

        If messages that were on their way could not be sent, this raises the first error, and publishes nothing.
        """
        gathered = self._running().gathered
        gathered.raise_late_error()
        payload = encode_payload(payload)
        if qos == 0 and not options and gathered.may_take(topic, payload, retain):
            gathered.take(topic, payload, retain)
            return ReasonCode.SUCCESS
        return self._call_in_turn(lambda: self._client.publish(topic, payload, qos=qos, retain=retain, **options))

    def publish_nowait(
        self, topic: str, payload: Any = b"", *, qos: int = 0, retain: bool = False, **options: Unpack[PublishOptions]
    ) -> concurrent.futures.Future[ReasonCode | None]:
        """Publish without waiting; the future's `result(timeout)` says what the server answered, or raises.

        What cannot wait any more waits for room in the client's thread, not in yours.
        """
        thread = self._running()
        thread.gathered.raise_late_error()
        return thread.start(
            thread.gathered.in_turn(lambda: self._client.publish(topic, payload, qos=qos, retain=retain, **options))
        )

    def request(
        self,
        topic: str,
        payload: Any = b"",
        *,
        timeout: float = 10.0,
        qos: int = 0,
        **options: Unpack[PublishOptions],
    ) -> Message:
        """Publish a request and wait for the answer (4.10). Raises TimeoutError when none comes in so many seconds."""
        return self._call_in_turn(lambda: self._client.request(topic, payload, timeout=timeout, qos=qos, **options))

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
        """A stream of the messages that match topic filters, for `with`; the options are `tidewire.Client`'s."""
        inner = self._client.subscribe(
            *topic_filters,
            qos=qos,
            no_local=no_local,
            retain_as_published=retain_as_published,
            retain_handling=retain_handling,
            manual_ack=True,  # acknowledged from here, one thread change for many messages
            maximum=maximum,
            overflow=overflow,
            keep=keep,
        )
        return Stream(self, inner, manual_ack)

    def unsubscribe(self, *topic_filters: str) -> None:
        """End subscriptions (3.10)."""
        self._call(self._client.unsubscribe(*topic_filters))

    def on(self, pattern: str, *, qos: int = 0, **options: Any) -> Callable[[_HandlerT], _HandlerT]:
        """Decorate a function for messages of a topic, named levels included; `run()` calls it, in its own thread."""
        return self._register(pattern, False, {"qos": qos, **options})

    def responder(self, pattern: str, *, qos: int = 0, **options: Any) -> Callable[[_HandlerT], _HandlerT]:
        """The same, and what it returns is the answer to a `request`."""
        return self._register(pattern, True, {"qos": qos, **options})

    def run(self) -> None:
        """Serve the handlers in this thread until Ctrl-C or an error, which is raised, a handler's own included."""
        arrived: asyncio.Queue[tuple[_Handled, Message] | BaseException] = asyncio.Queue(BURST_MESSAGES)

        async def feed(handled: _Handled) -> None:
            subscribed = self._client.subscribe(handled.pattern.topic_filter, manual_ack=True, **handled.options)
            async with subscribed as stream:
                async for message in stream:
                    await arrived.put((handled, message))

        async def feed_all() -> None:
            try:
                async with asyncio.TaskGroup() as group:
                    for handled in self._handlers:
                        group.create_task(feed(handled))
                    group.create_task(self._client.run())
            except BaseExceptionGroup as errors:
                await arrived.put(errors.exceptions[0])

        feeding = self._running().start(feed_all())
        try:
            while True:
                for item in self._call(_burst(arrived)):
                    if isinstance(item, BaseException):
                        raise item
                    handled, message = item
                    answer = handled.handler(message, **handled.pattern.levels(message.topic))
                    if handled.answers and message.response_topic is not None:
                        self._answer(message, message.response_topic, answer)
                    message.ack()
        finally:
            feeding.cancel()

    def _answer(self, message: Message, response_topic: str, answer: Any) -> None:
        correlated: PublishOptions = {}
        if message.correlation_data is not None:
            correlated["correlation_data"] = message.correlation_data
        self.publish(response_topic, answer, qos=message.qos, **correlated)

    def _register(self, pattern: str, answers: bool, options: dict[str, Any]) -> Callable[[_HandlerT], _HandlerT]:
        named = Pattern(pattern)

        def register(handler: _HandlerT) -> _HandlerT:
            self._handlers.append(_Handled(named, handler, answers, options))
            return handler

        return register

    # -- the thread

    def _running(self) -> LoopThread:
        if self._thread is None:
            raise NotConnected("the client is closed; use it inside `with client:`, or call connect() first")
        return self._thread

    def _call(self, work: Coroutine[Any, Any, _T]) -> _T:
        try:
            thread = self._running()
        except NotConnected:
            work.close()
            raise
        return thread.call(work)

    def _call_in_turn(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        thread = self._running()
        return thread.call(thread.gathered.in_turn(work))

    def _leave(self, end: Callable[[], Coroutine[Any, Any, None]], error: BaseException | None = None) -> None:
        """End the client and its thread; what is lost thereby joins the error, if there is one."""
        gathered = self._running().gathered
        try:
            self._call(gathered.finish(end, self._client._settings.drain_timeout))
        finally:
            self._end()
        try:
            gathered.raise_late_error()
        except Exception as late:
            if error is None:
                raise
            error.add_note("\n".join([f"{type(late).__name__}: {late}", *late.__notes__]))

    def _end(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.gathered.closed = True
            thread.end()
            thread.gathered.give_up()


class Stream:
    """Messages of one `client.subscribe(…)`: `with` it, then `for` over it. See `tidewire.Stream`."""

    def __init__(self, client: Client, inner: asynchronous_stream.Stream, manual_ack: bool) -> None:
        self._client = client
        self._inner = inner
        self._manual_ack = manual_ack
        self._taken: deque[Message] = deque()
        self._in_hand: Message | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._let_go()
        undone = [*([self._in_hand] if self._in_hand is not None else []), *self._taken]
        self._in_hand = None
        self._taken.clear()

        async def leave() -> None:
            self._inner.give_back(undone)
            await self._inner.__aexit__(kind, error, traceback)

        if self._client._thread is not None:
            self._client._call(leave())

    def open(self) -> None:
        """Subscribe (3.8). Raises SubscribeError when the server refuses a topic filter."""
        self._client._call(self._inner.open())

    def close(self) -> None:
        """Unsubscribe, and acknowledge what was not read."""
        self.__exit__(None, None, None)

    def __iter__(self) -> Iterator[Message]:
        return self

    def __next__(self) -> Message:
        """The next message; the one before is acknowledged."""
        self._let_go()
        if not self._taken:
            self._taken.extend(self._client._call(self._inner.take(BURST_MESSAGES)))
            if not self._taken:
                raise StopIteration
        return self._take()

    def get(self, timeout: float | None = None) -> Message:
        """The next message, or TimeoutError after so many seconds; the one before is acknowledged."""
        self._let_go()
        if not self._taken:
            self._taken.extend(self._client._call(asyncio.wait_for(self._inner.take(BURST_MESSAGES), timeout)))
            if not self._taken:
                raise RuntimeError("the stream is closed")
        return self._take()

    def get_nowait(self) -> Message | None:
        """The next message if there is one; the one before is acknowledged."""
        self._let_go()
        if not self._taken and len(self._inner):
            self._taken.extend(self._client._call(self._inner.take(BURST_MESSAGES)))
        return self._take() if self._taken else None

    def __len__(self) -> int:
        """Messages that wait to be read."""
        return len(self._taken) + len(self._inner)

    def __bool__(self) -> bool:
        return True

    @property
    def granted(self) -> list[int]:
        """The QoS that the server granted, a topic filter each."""
        return self._inner.granted

    @property
    def dropped(self) -> int:
        """Messages that the reader will not get, because too many waited."""
        return self._inner.dropped

    def _take(self) -> Message:
        message = self._taken.popleft()
        if message.qos and not self._manual_ack:
            self._in_hand = message
        return message

    def _let_go(self) -> None:
        if self._in_hand is not None:
            self._in_hand.ack()
            self._in_hand = None


class _Handled(NamedTuple):
    """What `on` or `responder` was given."""

    pattern: Pattern
    handler: Handler
    answers: bool
    options: dict[str, Any]


async def _burst(arrived: asyncio.Queue[_T]) -> list[_T]:
    """What is there, and at least one."""
    found = [await arrived.get()]
    while not arrived.empty():
        found.append(arrived.get_nowait())
    return found
