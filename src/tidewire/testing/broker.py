"""The broker of a test: on a thread of its own, so that blocking clients and any event loop can talk to it."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any, Final, Self, TypeVar

from tidewire.server.config import Config
from tidewire.server.embedded import Broker
from tidewire.server.hooks import (
    ConnectRequest,
    OnConnect,
    OnDisconnect,
    OnPublish,
    OnSubscribe,
    ProgramHooks,
    PublishRequest,
    copied,
)
from tidewire.testing.clock import Clock
from tidewire.testing.faults import Faults
from tidewire.wire.properties import Properties
from tidewire.wire.topics import check_topic_filter, matches

__tracebackhide__ = True  # pytest shows the line of the test instead of lines from here

T = TypeVar("T")
R = TypeVar("R")  # what a hook is asked …
A = TypeVar("A")  # … and what it answers

PATIENCE_S: Final = 10.0
"""How long a test that fails waits before it says so."""

STOP_GRACE_S: Final = 0.05
"""A test that leaves its clients open should not pay for it."""


class BrokerThread:
    """A running broker, its clock, its faults, and what has arrived. Any thread may use it, and each call is quick.

    `clock.advance(seconds)` lets time pass, `faults` breaks things, `received` is what clients have published.
    """

    def __init__(
        self,
        config: Config | Mapping[str, Any] | str | Path | None = None,
        *,
        port: int = 0,
        limits: Mapping[str, int | float] | None = None,
        on_connect: OnConnect | None = None,
        on_publish: OnPublish | None = None,
        on_subscribe: OnSubscribe | None = None,
        on_disconnect: OnDisconnect | None = None,
        **options: Any,
    ) -> None:
        """Takes what `tidewire.Broker` takes, and is ready when it returns. It is silent about `$SYS` unless
        `limits` name a `sys_interval_s`, and calls hooks on its own thread. Raises what `tidewire.Broker` raises.
        """
        hooks = ProgramHooks(on_connect, on_publish, on_subscribe, on_disconnect)
        self._changes = 0
        self._changed = threading.Condition()
        self._received: list[PublishRequest] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tidewire broker", daemon=True)
        self.clock = Clock(self._finish)
        self.faults = Faults(self._call, self.clock, self._notify)
        self._thread.start()
        try:
            self._broker = Broker(
                config,
                on_connect=_first(self._refuse, hooks.on_connect),
                on_publish=_first(self._receive, hooks.on_publish),
                on_subscribe=_first(self._notify, hooks.on_subscribe),
                on_disconnect=_first(self._notify, hooks.on_disconnect),
                port=port,
                limits={"sys_interval_s": 0, **(limits or {})},
                stop_grace_s=STOP_GRACE_S,
                clock=self.clock,
                protocol=self.faults.make_line,
                **options,
            )
            self._finish(self._broker.start())
        except BaseException:
            self._end_thread()
            raise
        self.clock.server = self.faults.server = self._broker.server

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the broker; its clients lose their connections. A second time does nothing."""
        if self._thread.is_alive():
            try:
                self._finish(self._broker.stop())
            finally:
                self._end_thread()

    # -- where it is

    @property
    def port(self) -> int:
        """The TCP port."""
        return self._broker.port

    @property
    def url(self) -> str:
        """`mqtt://127.0.0.1:PORT`"""
        return self._broker.url

    @property
    def urls(self) -> list[str]:
        """The same for every listener of `config`, in their order."""
        return self._broker.urls

    # -- what happened

    @property
    def received(self) -> list[PublishRequest]:
        """What clients have published so far, wills included, in the order of arrival.

        A message that the access rules deny is not among them; one that `on_publish` refuses is.
        """
        with self._changed:
            return list(self._received)

    @property
    def clients(self) -> list[str]:
        """The client identifiers of those that are connected."""
        return self._call(lambda: self._broker.clients)

    def subscriptions(self, client: str) -> list[str]:
        """The topic filters of a client's session, in the order of subscribing; none where there is no session."""

        def look() -> list[str]:
            session = self._broker.server.broker.sessions.get(client)
            held = session.subscriptions if session is not None else None
            return [topic_filter.decode() for topic_filter in held or ()]

        return self._call(look)

    def wait_for(self, topic_filter: str = "#", count: int = 1, timeout_s: float = PATIENCE_S) -> list[PublishRequest]:
        """The first `count` messages whose topic the filter matches, when they have arrived.

        Raises TimeoutError with what did arrive. In async tests: `await asyncio.to_thread(broker.wait_for, …)`.
        """
        encoded = topic_filter.encode()
        check_topic_filter(encoded)

        def found() -> list[PublishRequest]:
            return [message for message in self.received if matches(encoded, message.topic.encode())]

        try:
            self.wait_until(lambda: len(found()) >= count, timeout_s)
        except TimeoutError:
            arrived = "".join(f"\n  {message.topic} {message.payload!r}" for message in self.received) or " nothing"
            raise TimeoutError(
                f"{len(found())} of {count} messages for {topic_filter!r} in {timeout_s:g} s; what arrived:{arrived}"
            ) from None
        return found()[:count]

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
        """Return when the condition is true, which is looked at whenever something happened at the broker:

        a client came or went, a SUBSCRIBE or a message arrived, a fault happened. Raises TimeoutError.
        """
        _forbid_blocking_a_loop()
        deadline = monotonic() + timeout_s
        while True:
            with self._changed:
                seen = self._changes
            if condition():
                return
            with self._changed:
                while self._changes == seen:
                    if not self._changed.wait(deadline - monotonic()):
                        raise TimeoutError(f"it did not come true in {timeout_s:g} s")

    # -- what the test does

    def publish(
        self,
        topic: str,
        payload: bytes = b"",
        *,
        qos: int = 0,
        retain: bool = False,
        properties: Properties | None = None,
    ) -> None:
        """Publish a message to whoever subscribes; as `tidewire.Broker.publish`. It is not among `received`."""
        self._call(lambda: self._broker.publish(topic, payload, qos=qos, retain=retain, properties=properties))

    # -- the broker's thread

    def _finish(self, work: Coroutine[Any, Any, T]) -> T:
        """What a coroutine returns, run on the broker's loop."""
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("a hook runs on the broker's thread, which cannot wait for itself")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _call(self, function: Callable[[], T]) -> T:
        """What a function returns, called on the broker's loop."""

        async def call() -> T:
            return function()

        return self._finish(call())

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _notify(self, _: object = None) -> None:
        """Something happened, or is just about to: `wait_until` looks when this pass of the loop is over."""
        self._loop.call_soon(self._count_change)

    def _count_change(self) -> None:
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    # -- hooks of its own, that write down what they see

    def _refuse(self, request: ConnectRequest) -> int | None:
        self._notify()
        return self.faults.refusals.pop(0) if self.faults.refusals else None

    def _receive(self, request: PublishRequest) -> None:
        with self._changed:
            # A copy: what the test's own hook changes in place did not arrive like that.
            self._received.append(replace(request, properties=copied(request.properties)))
        self._notify()


def _first(watch: Callable[[R], A | None], hook: Callable[[R], A | None] | None) -> Callable[[R], A | None]:
    """A hook of ours, and then the test's, under whose name both run; where ours answers, the other is not asked."""
    if hook is None:
        return watch

    @functools.wraps(hook)
    def both(request: R) -> A | None:
        answer = watch(request)
        return hook(request) if answer is None else answer

    return both


def _forbid_blocking_a_loop() -> None:
    """A client on the loop that is blocked could never do what is waited for."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("this would block the event loop; await asyncio.to_thread(broker.wait_for, …) instead")
