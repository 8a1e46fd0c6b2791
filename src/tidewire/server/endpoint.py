"""One listener of the configuration: its sockets, and how a connection comes in through PROXY protocol and TLS.

Plain connections are accepted by the loop. Where something has to happen before the first byte of MQTT they are
accepted here, so that those who take long over it can be counted, and cut when others wait for their place.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import socket
import ssl
import stat
from collections.abc import Coroutine
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Final

from tidewire.server.config import ConfigError, SettingError
from tidewire.server.listener import ClientProtocol, host_of, tcp_socket, written
from tidewire.server.listener_config import ListenerConfig
from tidewire.server.log import logger, quoted
from tidewire.server.proxy_protocol import MalformedHeader, read_header
from tidewire.server.tls import Tls
from tidewire.wire.codes import ReasonCode

if TYPE_CHECKING:
    from tidewire.server.server import Server

ARRIVAL_S: Final = 10.0
"""How long PROXY header and TLS handshake may take together: three round trips of a bad radio link, and some."""

ARRIVING: Final = 1024
"""Connections of one listener in their handshakes at a time. More wait in the kernel, and then …"""

ARRIVAL_WHILE_OTHERS_WAIT_S: Final = 1.0
"""… who has taken longer than this is cut, the oldest first: a thousand that say nothing hold nobody up."""

ACCEPTS_A_TURN: Final = 64
"""Connections accepted before others have their turn."""

ACCEPT_PAUSE_S: Final = 0.5
"""How long to wait when there is no descriptor or no memory for another one."""

SHORTEST_WAIT_S: Final = 0.01
"""Those who are cut need a moment to leave."""


class Endpoint:
    """The sockets of one `[[listener]]`."""

    def __init__(self, server: Server, config: ListenerConfig, top_level: bool = False) -> None:
        """`top_level`: it is the one of `bind` and `port`. Raises ConfigError for TLS files that cannot be used."""
        self.config = config
        self.urls: list[str] = []
        """Where it listens, once it does."""
        self.port = 0
        self.connections = 0
        """That are in, or arriving."""
        self._server = server
        self._top_level = top_level
        self._addresses: dict[str, int] = {}
        """Connections by address, where they are limited."""
        self._loop = asyncio.get_running_loop()
        self._arriving: dict[socket.socket, float] = {}
        """Since when, the oldest first."""
        self._room = asyncio.Event()
        """One of them has left."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting: list[asyncio.Task[None]] = []
        """Where we accept ourselves …"""
        self._servers: list[asyncio.AbstractServer] = []
        """… and where the loop does."""
        self._unix_socket: str | None = None
        """The path that is ours to remove."""
        self.tls = Tls(config.tls, config.protocol, self._described()) if config.tls is not None else None
        if not top_level and config.port is None and config.unix_socket is None:
            raise ConfigError(f"listener {self._described()} has neither a port nor a unix_socket; add port = 8883")

    # -- what the server calls

    async def open(self) -> None:
        """Open the sockets. Raises ConfigError for an address that cannot be had."""
        config = self.config
        port = config.port
        for address in config.bind if port is not None else ():
            try:
                listening = tcp_socket(address, port or self.port)
            except (OSError, ValueError) as error:  # ValueError: no host can have that name
                if address == "::1" and getattr(error, "errno", 0) in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    continue  # a machine without IPv6
                raise self._cannot_listen(address, port or self.port, error) from None
            self.port = listening.getsockname()[1]  # all families on one port, also when it was 0
            await self._serve(listening)
            host = f"[{address}]" if ":" in address else address
            self.urls.append(f"{self._scheme()}://{host}:{self.port}{self._path()}")
        if config.unix_socket is not None:
            try:
                _remove_dead_socket(config.unix_socket)
                listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                try:
                    listening.setblocking(False)
                    listening.bind(config.unix_socket)
                except OSError:
                    listening.close()
                    raise
                self._unix_socket = config.unix_socket
                await self._serve(listening)
            except (OSError, ValueError) as error:  # ValueError: the path has a null character
                reason = getattr(error, "strerror", None) or error
                raise ConfigError(f"cannot listen on {config.unix_socket!r}: {reason}") from None
            self.urls.append(f"unix://{config.unix_socket}")

    def close(self) -> None:
        """Close the doors, and on those who are between them."""
        for server in self._servers:
            server.close()
        for accepting in self._accepting:
            accepting.cancel()
        for arriving in list(self._arriving):
            _cut(arriving)
        if self._unix_socket is not None:
            with suppress(OSError):
                os.unlink(self._unix_socket)

    async def empty(self, patience_s: float) -> None:
        """Wait until nobody is between the doors any more."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience_s)

    def watch(self, now: float) -> None:
        """Load the certificates anew when their files have changed; called at every tick."""
        if self.tls is not None:
            self.tls.watch(now)

    # -- who may come in

    def enter(self, address: str) -> str:
        """Take a place for a connection from an address; why there is none, or empty."""
        config = self.config
        if config.connections and self.connections >= config.connections:
            return f"{config.connections} connections of this listener are open"
        if config.connections_per_address and address:
            present = self._addresses.get(address, 0)
            if present >= config.connections_per_address:
                return f"{present} connections from this address are open"
            self._addresses[address] = present + 1
        self.connections += 1
        return ""

    def leave(self, address: str) -> None:
        """Give the place back."""
        self.connections -= 1
        if address in self._addresses:
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]

    # -- connections

    async def _serve(self, listening: socket.socket) -> None:
        config, backlog = self.config, self._server.config.backlog
        if self.tls is None and not config.proxy_protocol:
            if listening.family == getattr(socket, "AF_UNIX", None):
                server = await self._loop.create_unix_server(self._plain, sock=listening, backlog=backlog)
            else:
                server = await self._loop.create_server(self._plain, sock=listening, backlog=backlog)
            self._servers.append(server)
            return
        listening.listen(backlog)
        self._accepting.append(self._start(self._accept(listening)))

    def _plain(self) -> asyncio.Protocol:
        return self._wrapped(self._server.make_protocol(self))

    def _wrapped(self, client: ClientProtocol) -> asyncio.Protocol:
        if self.config.protocol == "websocket":
            from tidewire.server.websocket import WebSocketProtocol  # noqa: PLC0415 (only who needs it loads it)

            return WebSocketProtocol(client, self.config, self._server.broker.limits.maximum_packet_size)
        return client

    async def _accept(self, listening: socket.socket) -> None:
        """Accept for as long as the listener is open."""
        try:
            for accepted in itertools.count(1):
                while len(self._arriving) >= ARRIVING:
                    await self._make_room()
                try:
                    arriving, name = await self._loop.sock_accept(listening)
                except ConnectionAbortedError:
                    continue
                except OSError as error:
                    logger.error("cannot accept listener=%s detail=%s", quoted(self._described()), error.strerror)
                    await asyncio.sleep(ACCEPT_PAUSE_S)
                    continue
                self._arrive(arriving, name)
                if accepted % ACCEPTS_A_TURN == 0:
                    await asyncio.sleep(0)
        finally:
            listening.close()

    async def _make_room(self) -> None:
        """Wait until somebody's handshake has ended; cut those who take too long while others wait."""
        latest = monotonic() - ARRIVAL_WHILE_OTHERS_WAIT_S
        for arriving, since in list(self._arriving.items())[:ACCEPTS_A_TURN]:
            if since <= latest:
                _cut(arriving)
        oldest = next(iter(self._arriving.values()))
        self._room.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._room.wait(), max(SHORTEST_WAIT_S, oldest - latest))

    def _arrive(self, arriving: socket.socket, name: object) -> None:
        """Let a connection begin its handshakes, if there is a place for it."""
        arriving.setblocking(False)
        refusal = self._server.gate.refusal()
        if not refusal and not self.config.proxy_protocol:
            refusal = self.enter(host_of(name))
        if refusal:
            self._server.refused(written(name), ReasonCode.SERVER_BUSY, refusal)
            arriving.close()
            return
        self._arriving[arriving] = monotonic()
        self._start(self._let_in(arriving, name))

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _let_in(self, arriving: socket.socket, name: object) -> None:
        """PROXY header and TLS handshake; then the connection is the protocol's."""
        client = self._server.make_protocol(self)
        client.name = name
        client.entered = not self.config.proxy_protocol
        handed_over = False
        try:
            async with asyncio.timeout(ARRIVAL_S):
                if self.config.proxy_protocol:
                    client.name = await read_header(arriving) or name
                    if refusal := self.enter(host_of(client.name)):
                        raise ConnectionRefusedError(refusal)
                    client.entered = True
                handed_over = True
                await self._hand_over(arriving, client)
        except (OSError, MalformedHeader) as error:  # ssl.SSLError and TimeoutError are OSErrors
            if not client.connected:
                self._server.refused(written(client.name), ReasonCode.UNSPECIFIED_ERROR, _explained(error))
                if client.entered:
                    self.leave(host_of(client.name))
            if handed_over:
                _cut(arriving)
            else:
                arriving.close()
        finally:
            del self._arriving[arriving]
            self._room.set()

    async def _hand_over(self, arriving: socket.socket, client: ClientProtocol) -> None:
        outer = self._wrapped(client)
        if arriving.family != getattr(socket, "AF_UNIX", None):
            arriving.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls is None:
            await self._loop.connect_accepted_socket(lambda: outer, arriving)
        else:
            await self._loop.connect_accepted_socket(
                lambda: outer, arriving, ssl=self.tls.context, ssl_handshake_timeout=ARRIVAL_S
            )

    # -- how it is called

    def _scheme(self) -> str:
        websocket = self.config.protocol == "websocket"
        if self.tls is not None:
            return "wss" if websocket else "mqtts"
        return "ws" if websocket else "mqtt"

    def _path(self) -> str:
        return self.config.path if self.config.protocol == "websocket" else ""

    def _described(self) -> str:
        config = self.config
        return config.name or f"{config.protocol}:{config.unix_socket if config.port is None else config.port}"

    def _cannot_listen(self, address: str, port: int, error: OSError | ValueError) -> ConfigError:
        if isinstance(error, ValueError | socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            return ConfigError(f"{address!r} is not an address of this machine")
        if error.errno == errno.EADDRINUSE:
            problem = f"port {port} of {address} is taken; stop what listens there, or choose another"
            return self._needs_port(problem, port + 1)
        if error.errno == errno.EACCES:
            return self._needs_port(f"not permitted to listen on port {port}; choose one above 1023", 1883)
        return ConfigError(f"cannot listen on {address} port {port}: {error.strerror or error}")

    def _needs_port(self, problem: str, port: int) -> ConfigError:
        """Another port mends it."""
        if self._top_level:
            return SettingError(problem, "port", port)
        return ConfigError(f"{problem}: port = {port} in its [[listener]]")


_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "UNEXPECTED_MESSAGE", "HTTP_REQUEST")
"""What OpenSSL says of MQTT, as of what else is no TLS, and of HTTP."""


def _explained(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        guess = "; is this a client without TLS?" if error.reason in _NO_TLS else ""
        return f"TLS: {(error.reason or str(error)).replace('_', ' ').lower()}{guess}"
    if isinstance(error, TimeoutError):
        return f"no PROXY header and TLS handshake in {ARRIVAL_S:g} s"
    return str(error) or "the connection ended within its handshake"


def _cut(arriving: socket.socket) -> None:
    """End a connection that somebody else may be reading from: they will see it end, and close it."""
    with suppress(OSError):
        arriving.shutdown(socket.SHUT_RDWR)


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
