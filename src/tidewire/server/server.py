"""The life of a broker process: open the doors, pass bytes, tick, and leave in order."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Final

from tidewire import __version__
from tidewire.engine.broker import Broker
from tidewire.engine.message import Message
from tidewire.engine.ports import Events, Hooks
from tidewire.engine.timers import BUCKETS_PER_SECOND
from tidewire.server.config import (
    Config,
    ConfigError,
    SettingError,
    check_exposure,
    data_directory,
    make_access,
    make_limits,
)
from tidewire.server.endpoint import Endpoint
from tidewire.server.listener import ClientProtocol, Gate
from tidewire.server.listener_config import ListenerConfig
from tidewire.server.log import LogEvents, logger
from tidewire.server.metering import Metering
from tidewire.server.verification import Verification
from tidewire.wire.codes import ReasonCode

if TYPE_CHECKING:
    from tidewire.server.admin_packets import Watch
    from tidewire.server.bridge import Bridges
    from tidewire.server.durability import DurableStore
    from tidewire.server.http_server import HttpServer
    from tidewire.server.tracing import Tracing

STOP_GRACE_S: Final = 5.0
"""How long clients may take to read their last bytes when the broker stops."""

ABORT_GRACE_S: Final = 1.0
"""How long the loop may take to let go of connections that were cut."""

RESERVED_FILES: Final = 64
"""Open files that are not connections: listeners, log, the loop's own."""


class Server:
    """One broker with its listeners, on the running event loop."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Callable[[], float] = monotonic,
        protocol: Callable[[Server], ClientProtocol] = ClientProtocol,
        events: Events | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        """Raises ConfigError for a configuration that cannot be used.

        `clock` gives seconds, in place of `time.monotonic`; `protocol` makes what stands at each connection; without
        `events` they go to the log.
        """
        check_exposure(config)
        self.config = config
        self.clock = clock
        self.access, self.bridges = _access_and_bridges(config, self)
        self.store = _open_store(config, clock)
        self.tracing, events, hooks = _traced(config, LogEvents() if events is None else events, hooks)
        self.broker = Broker(
            clock(),
            make_limits(config),
            self.access,
            events,
            f"tidewire version {__version__}",
            secrets.token_bytes(32),
            self.store,
            hooks,
        )
        self.metering = Metering(self, config.meter)
        self.gate = Gate(config.accept_rate, self.most_connections(config))
        self.flush_planned = False
        self.urls: list[str] = []
        """Where it listens, once it does: `mqtt://127.0.0.1:1883`, `wss://[::1]:8443/mqtt`, `unix:///path`."""
        self.kept_all = True
        """By its end: what it was to keep is on the disk."""
        self.addresses: list[str] = []
        """The same for people: without `mqtt://` and `unix://`."""
        self.port = 0
        """The TCP port of the first of them that has one."""
        first = ListenerConfig(bind=config.bind, port=config.port, unix_socket=config.unix_socket)
        self.endpoints = [Endpoint(self, first, True), *(Endpoint(self, listener) for listener in config.listeners)]
        self._loop = asyncio.get_running_loop()
        self._make_protocol = protocol
        self._next_tick: asyncio.TimerHandle | None = None
        self._asked_to_stop = asyncio.Event()
        self.at_tick: list[Callable[[float], bool]] = []
        """Called four times a second with the time, for as long as they answer True."""
        self.admin_server: HttpServer | None = None
        """The administration over HTTP, where it is configured and open."""
        self.at_stop: list[Callable[[], Awaitable[None]]] = []
        """Called first when it stops: whoever shows this broker lets go of it."""
        self.watch: Watch | None = None
        """Who looks at clients' packets, once somebody has."""
        self.read_again: Callable[[], Config] | None = None
        """Reads the configuration anew, where it came from a file."""

    async def start(self) -> None:
        """Open the listeners. Raises ConfigError for an address that cannot be had."""
        for endpoint in self.endpoints:
            try:
                await endpoint.open()
            except ConfigError:
                await self.stop()
                raise
        self.note_addresses()
        if not self.urls:
            raise SettingError("there is no address to listen on; name one", "bind", "127.0.0.1")
        for line in self.access.policy.in_force:
            logger.info("access: %s", line)
        if self.store is not None:
            self.store.start(self)
        self._keep_ticking()
        if self.bridges is not None:
            await self.bridges.open()
        if self.config.admin is not None:
            try:
                from tidewire.server.admin_server import serve_admin  # noqa: PLC0415 (an extra)

                self.admin_server = await serve_admin(self, self.config.admin)
            except ConfigError:
                await self.stop()
                raise

    def note_addresses(self) -> None:
        """Where it listens: of all listeners that are open."""
        self.urls = [url for endpoint in self.endpoints for url in endpoint.urls]
        self.addresses = [url.removeprefix("mqtt://").removeprefix("unix://") for url in self.urls]
        self.port = next((endpoint.port for endpoint in self.endpoints if endpoint.port), 0)

    @staticmethod
    def most_connections(config: Config) -> int:
        """How many there may be at a time."""
        return config.connections or open_files() - RESERVED_FILES

    async def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Close the doors, say good-bye, let the last bytes go out; then cut who has not read them."""
        for endpoint in self.endpoints:
            endpoint.close()
        for let_go in self.at_stop:
            await let_go()
        if self.admin_server is not None:
            await self.admin_server.close()
        if self.bridges is not None:
            await self.bridges.close()
        self.broker.shut_down(self.clock())
        for protocol in list(self.gate.connections):  # those that are not clients yet
            protocol.connection.close(ReasonCode.SERVER_SHUTTING_DOWN, "the server shuts down", self.clock())
        self.flush()
        self.access.close()
        for endpoint in self.endpoints:
            await endpoint.empty(ABORT_GRACE_S)
        if not await self.gate.empty(grace_s):
            for protocol in list(self.gate.connections):
                protocol.connection.transport.abort()
            await self.gate.empty(ABORT_GRACE_S)
        if self._next_tick is not None:
            self._next_tick.cancel()
        self.metering.save()
        if self.store is not None:
            self.kept_all = await self.store.stop()
        if self.tracing is not None:
            await self.tracing.close()

    def heed_signals(self) -> None:
        """Stop on SIGTERM or SIGINT; a second one ends the process at once."""

        def ask_to_stop() -> None:
            if self._asked_to_stop.is_set():
                os._exit(1)
            self._asked_to_stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._loop.add_signal_handler(number, ask_to_stop)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda *_: self._loop.call_soon_threadsafe(ask_to_stop))

    async def serve(self) -> None:
        """Serve until a signal asks to stop; the process is the broker's alone."""
        self._loop.set_exception_handler(_log_fault)
        gc.freeze()  # what lives now lives for good: the collector need not look at it again
        gc.enable()
        gc.set_threshold(50_000, 20, 100)
        await self._asked_to_stop.wait()
        logger.info("stopping connections=%d", len(self.gate.connections))
        await self.stop()
        logger.info("stopped")

    def plan_flush(self, only_messages: bool = False) -> None:
        """Write what this pass of the loop produced when it ends; what is not just messages, after one more look at
        the sockets.

        A socket that was ready a moment ago stands first in the kernel's list until it is looked at again, and would
        be read before one whose bytes came earlier. So the list is cleared before anybody can react to a CONNACK or
        SUBACK: a SUBSCRIBE is then handled before the PUBLISH that another client sent after it.
        """
        if not self.flush_planned and self.broker.has_work():
            self.flush_planned = True
            if only_messages:
                self._loop.call_soon(self.flush)
            else:
                self._loop.call_soon(self._loop.call_soon, self.flush)

    def flush(self) -> None:
        self.flush_planned = False
        if self.broker.flush(self.clock()):
            self.flush_planned = True
            self._loop.call_soon(self.flush)

    def publish(self, message: Message) -> None:
        """Publish a message of the broker's own. Raises ProtocolViolation for what is not a topic name."""
        self.broker.publish(message, self.broker.route(message.topic), self.clock())
        self.plan_flush(True)

    def tick(self, now: float) -> None:
        """Let everything happen that is due."""
        self.broker.tick(now)
        self.metering.tick(now)
        for endpoint in self.endpoints:
            endpoint.watch(now)
        if self.at_tick:
            self.at_tick = [each for each in self.at_tick if each(now)]

    def make_protocol(self, endpoint: Endpoint) -> ClientProtocol:
        """For a new connection."""
        protocol = self._make_protocol(self)
        protocol.endpoint = endpoint
        return protocol

    def refused(self, peer: str, reason_code: int, detail: str) -> None:
        """A connection was turned away before the engine knew of it."""
        self.broker.statistics.connections_refused += 1
        self.broker.events.refused("", peer, reason_code, detail)

    def _keep_ticking(self) -> None:
        # The next tick falls on the edge of a bucket, so that nothing waits longer than a bucket lasts.
        until_edge = (1.0 - self.clock() * BUCKETS_PER_SECOND % 1.0) / BUCKETS_PER_SECOND
        self._next_tick = self._loop.call_later(until_edge, self._keep_ticking)
        self.tick(self.clock())
        self.plan_flush()


def _open_store(config: Config, clock: Callable[[], float]) -> DurableStore | None:
    """Where sessions and messages outlive the process, if anywhere. Raises ConfigError."""
    if config.data is None or config.durability == "memory":
        return None
    from tidewire.server.durability import DurableStore  # noqa: PLC0415 (a broker in a test needs no SQLite)
    from tidewire.store.errors import StoreError  # noqa: PLC0415

    try:
        return DurableStore(data_directory(config, os.environ), config.durability, clock)
    except StoreError as error:
        raise ConfigError(str(error)) from None


def _traced(config: Config, events: Events, hooks: Hooks | None) -> tuple[Tracing | None, Events, Hooks | None]:
    """Traces, and what stands before events and hooks for them, where they are wanted. Raises ConfigError."""
    if config.telemetry is None:
        return None, events, hooks
    from tidewire.server.tracing import Tracing  # noqa: PLC0415 (an extra)

    tracing = Tracing(config.telemetry)
    return tracing, *tracing.around(events, hooks)


def _access_and_bridges(config: Config, server: Server) -> tuple[Verification, Bridges | None]:
    """Who may do what, and the bridges, which may do all. Raises ConfigError."""
    if not config.bridges:
        return Verification(make_access(config), server), None
    from tidewire.server.bridge import Bridges, check_bridges  # noqa: PLC0415 (only who needs it loads the client)
    from tidewire.server.bridge_access import BridgeAccess  # noqa: PLC0415

    check_bridges(config)
    access = BridgeAccess(make_access(config), server)
    return access, Bridges(config, server, access)


def _log_fault(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """An error of ours outside any connection: it is logged, and the broker goes on."""
    error = context.get("exception")
    logger.error("internal error: %s", context.get("message"), exc_info=error if isinstance(error, Exception) else None)


def open_files(raised: bool = True) -> int:
    """The limit of open files, raised as far as it may be, or as it is."""
    try:
        import resource  # noqa: PLC0415 (Windows has none)
    except ImportError:
        return 8192
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = 1_048_576
    if soft == resource.RLIM_INFINITY:
        return hard
    if raised and soft < hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return soft
