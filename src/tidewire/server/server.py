"""The life of a broker process: open the doors, pass bytes, tick, and leave in order."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import secrets
import signal
import socket
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic
from typing import Final

from tidewire import __version__
from tidewire.access.rules import RuleAccess
from tidewire.engine.broker import Broker
from tidewire.engine.connection import Connection
from tidewire.engine.message import Message
from tidewire.engine.ports import Events, Hooks, Principal
from tidewire.engine.timers import BUCKETS_PER_SECOND
from tidewire.server.config import Config, ConfigError, check_exposure, make_access, make_limits
from tidewire.server.listener import ClientProtocol, Gate, tcp_socket
from tidewire.server.log import LogEvents, logger
from tidewire.wire.codes import ReasonCode
from tidewire.wire.packets import Connect

STOP_GRACE_S: Final = 5.0
"""How long clients may take to read their last bytes when the broker stops."""

ABORT_GRACE_S: Final = 1.0
"""How long the loop may take to let go of connections that were cut."""

RESERVED_FILES: Final = 64
"""Open files that are not connections: listeners, log, the loop's own."""

PASSWORD_CHECKS: Final = 1
"""Threads that verify passwords: slow by intent, so they must not take every core."""

WAITING_PASSWORDS: Final = 1_000
"""Log-ins that may wait for their verification; more are told that the server is busy."""


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
        self.access = _Access(make_access(config), self)
        self.broker = Broker(
            clock(),
            make_limits(config),
            self.access,
            LogEvents() if events is None else events,
            f"tidewire version {__version__}",
            secrets.token_bytes(32),
            hooks=hooks,
        )
        self.gate = Gate(config.accept_rate, config.connections or open_files() - RESERVED_FILES)
        self.flush_planned = False
        self.addresses: list[str] = []
        """Where it listens, once it does."""
        self.port = 0
        """The TCP port of all of them, if any has one."""
        self._loop = asyncio.get_running_loop()
        self._make_protocol = protocol
        self._next_tick: asyncio.TimerHandle | None = None
        self._listeners: list[asyncio.AbstractServer] = []
        self._unix_socket: str | None = None
        """The path that is ours to remove."""
        self._asked_to_stop = asyncio.Event()

    async def start(self) -> None:
        """Open the listeners. Raises ConfigError for an address that cannot be had."""
        config = self.config
        port = config.port
        for address in config.bind:
            try:
                listener = tcp_socket(address, port)
            except (OSError, ValueError) as error:  # ValueError: no host can have that name
                if address == "::1" and getattr(error, "errno", 0) in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    continue  # a machine without IPv6
                await self.stop()
                raise ConfigError(_cannot_listen(address, port, error)) from None
            port = self.port = listener.getsockname()[1]  # all families on one port, also when it was 0
            server = await self._loop.create_server(self._protocol, sock=listener, backlog=config.backlog)
            self._listeners.append(server)
            self.addresses.append(f"[{address}]:{port}" if ":" in address else f"{address}:{port}")
        if config.unix_socket is not None:
            try:
                _remove_dead_socket(config.unix_socket)
                self._listeners.append(await self._loop.create_unix_server(self._protocol, config.unix_socket))
            except (OSError, ValueError) as error:  # ValueError: the path has a null character
                await self.stop()
                reason = getattr(error, "strerror", None) or error
                raise ConfigError(f"cannot listen on {config.unix_socket!r}: {reason}") from None
            self._unix_socket = config.unix_socket
            self.addresses.append(config.unix_socket)
        if not self.addresses:
            raise ConfigError("there is no address to listen on; name one: --bind 127.0.0.1")
        self._keep_ticking()

    async def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Close the doors, say good-bye, let the last bytes go out; then cut who has not read them."""
        for listener in self._listeners:
            listener.close()
        if self._unix_socket is not None:
            with suppress(OSError):
                os.unlink(self._unix_socket)
        self.broker.shut_down(self.clock())
        for protocol in list(self.gate.connections):  # those that are not clients yet
            protocol.connection.close(ReasonCode.SERVER_SHUTTING_DOWN, "the server shuts down", self.clock())
        self.flush()
        self.access.close()
        if not await self.gate.empty(grace_s):
            for protocol in list(self.gate.connections):
                protocol.connection.transport.abort()
            await self.gate.empty(ABORT_GRACE_S)
        if self._next_tick is not None:
            self._next_tick.cancel()

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
        gc.collect()
        gc.freeze()  # what lives now lives for good: the collector need not look at it again
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

    def _protocol(self) -> ClientProtocol:
        return self._make_protocol(self)

    def _keep_ticking(self) -> None:
        # The next tick falls on the edge of a bucket, so that nothing waits longer than a bucket lasts.
        until_edge = (1.0 - self.clock() * BUCKETS_PER_SECOND % 1.0) / BUCKETS_PER_SECOND
        self._next_tick = self._loop.call_later(until_edge, self._keep_ticking)
        self.broker.tick(self.clock())
        self.plan_flush()


class _Access(RuleAccess):
    """The rules, with passwords verified in a thread of their own."""

    def __init__(self, rules: RuleAccess, server: Server) -> None:
        super().__init__(rules.rules, rules.passwords, rules.anonymous, rules.denied_code == ReasonCode.NOT_AUTHORIZED)
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(PASSWORD_CHECKS, "password")
        self._waiting = 0

    def authenticate(self, packet: Connect, connection: Connection) -> tuple[int, Principal | None] | None:
        answer = super().authenticate(packet, connection)
        if answer is not None:
            return answer
        if self._waiting >= WAITING_PASSWORDS:
            return ReasonCode.SERVER_BUSY, None
        self._waiting += 1
        verified = self._loop.run_in_executor(self._threads, self.verify, packet)
        verified.add_done_callback(lambda done: self._answer(connection, done))
        return None

    def close(self) -> None:
        """Leave the log-ins that still wait: nobody is there to answer them."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _answer(self, connection: Connection, verified: asyncio.Future[tuple[int, Principal | None]]) -> None:
        self._waiting -= 1
        if not verified.cancelled():
            connection.authenticated(*verified.result(), self._server.clock())
            self._server.plan_flush()


def _log_fault(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """An error of ours outside any connection: it is logged, and the broker goes on."""
    error = context.get("exception")
    logger.error("internal error: %s", context.get("message"), exc_info=error if isinstance(error, Exception) else None)


def _cannot_listen(address: str, port: int, error: OSError | ValueError) -> str:
    if isinstance(error, ValueError | socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"{address!r} is not an address of this machine"
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {address} is taken; stop what listens there, or choose another: --port {port + 1}"
    if error.errno == errno.EACCES:
        return f"not permitted to listen on port {port}; choose one above 1023: --port 1883"
    return f"cannot listen on {address} port {port}: {error.strerror or error}"


def _remove_dead_socket(path: str) -> None:
    """Remove a Unix socket that nobody listens on any more; anything else at that path is left alone."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "there is a file of that name")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            os.unlink(path)
            return
    raise OSError(errno.EADDRINUSE, "another program listens there")


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
