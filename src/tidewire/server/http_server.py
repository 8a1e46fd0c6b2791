"""How is HTTP served beside MQTT? uvicorn on the broker's own loop, with the broker's life."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from socket import socket
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from tidewire.server.config import ConfigError
from tidewire.server.http_config import HttpAddresses
from tidewire.server.listener import tcp_socket

BACKLOG: Final = 128
CONNECTIONS: Final = 256
"""At a time; the requests of more are told to come again …"""
CONNECTIONS_PER_ADDRESS: Final = 128
"""… and one address has half of them, so that it shuts out nobody else; as many, too, for all behind one proxy."""
CUT_S: Final = 1.0
"""How long a request may take to see that its connection was cut."""
HANDSHAKE_S: Final = 10.0
"""How long a TLS handshake may take, as for MQTT."""
IDLE_S: Final = 10
"""How long a connection may wait for its next request, and that may take to come, up to its body."""
BODY_S: Final = 60
"""How long a body may take: some megabytes from a telephone."""
STANDSTILL_S: Final = 60.0
"""Between two looks at whether a peer reads what is written to it; who has stopped then is cut, and …"""
STANDSTILL_BYTES: Final = 64 * 1024
"""… who has read less than this of what waits: a kilobyte a second is slower than any radio link."""


class HttpServer:
    """An application, served while the broker runs."""

    def __init__(self, urls: list[str], server: _Uvicorn, serving: asyncio.Task[None]) -> None:
        self.urls = urls
        """`http://127.0.0.1:9883`"""
        self._server = server
        self._serving = serving

    @classmethod
    async def open(cls, app: Any, table: str, config: HttpAddresses, **settings: Any) -> HttpServer:
        """An ASGI application where that table of the configuration says; `settings` are uvicorn's.

        Raises ConfigError for a certificate or an address that cannot be used."""
        sockets = _open_sockets(table, config)
        urls = [_url(each, config) for each in sockets]
        try:
            server = _Uvicorn(_settings(app, config, settings))
        except OSError as error:  # ssl.SSLError is one
            for each in sockets:
                each.close()
            raise ConfigError(f"{table}.certificate: {config.certificate} cannot be used: {error}") from None
        serving = asyncio.create_task(server.serve(sockets), name=f"tidewire: {table}")
        await asyncio.wait([serving, ready := asyncio.create_task(server.ready.wait())], return_when="FIRST_COMPLETED")
        ready.cancel()
        if serving.done():
            raise ConfigError(f"{table}: cannot serve: {serving.exception()}")
        return cls(urls, server, serving)

    async def close(self) -> None:
        """End it; requests that are under way are cut."""
        self._server.should_exit = True
        self._server.force_exit = True  # streams would last for ever
        await asyncio.gather(self._serving, return_exceptions=True)
        state: Any = self._server.server_state
        for connection in list(state.connections):
            connection.transport.abort()
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=CUT_S)
        await self._server.lifespan.shutdown()  # which being forced leaves out


class _Uvicorn(uvicorn.Server):
    """One that leaves the signals to the broker, and says when it is ready."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup([])  # the listeners are ours: uvicorn's let a TLS handshake take a minute
        tls = self.config.ssl
        for each in sockets or ():
            listener = await asyncio.get_running_loop().create_server(
                self._connection,
                sock=each,
                backlog=BACKLOG,
                ssl=tls,
                ssl_handshake_timeout=HANDSHAKE_S if tls is not None else None,
            )
            self.servers.append(listener)
        self.ready.set()

    def _connection(self) -> _Connection:
        return _Connection(self.config, self.server_state, self.lifespan.state)


class _Watched(asyncio.Protocol):
    """One that cuts a peer which does not read: what it has asked for stays in memory, and its place is taken."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    _look: asyncio.TimerHandle | None = None
    _stopped = False
    """The transport takes no more until something is read."""
    _unread = 0
    """Bytes that waited at the last look, if nothing has joined them since."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._look = self.loop.call_later(STANDSTILL_S, self._look_at)

    def pause_writing(self) -> None:
        self._stopped = True
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stopped, self._unread = False, 0
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._look_away()
        super().connection_lost(exc)

    def _look_at(self) -> None:
        unread = self.transport.get_write_buffer_size()
        if unread and self._unread and self._unread - unread < STANDSTILL_BYTES:
            self.transport.abort()
            return
        self._unread = unread if self._stopped or self.transport.is_closing() else 0
        self._look = self.loop.call_later(STANDSTILL_S, self._look_at)

    def _look_away(self) -> None:
        if self._look is not None:
            self._look.cancel()


class _WebSocket(_Watched, WebSocketsSansIOProtocol):
    """One that a request has become."""


class _Connection(_Watched, H11Protocol):
    """One that does not wait for ever: uvicorn's own patience begins with the first answer, and is renewed by each
    byte."""

    _patience: asyncio.TimerHandle | None = None
    _awaited: object = None
    """What of a request, as h11 calls it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        open_ones: set[Any] = self.connections  # WebSockets too
        if sum(_address(each) == _address(self) for each in open_ones) > CONNECTIONS_PER_ADDRESS:
            transport.abort()
        else:
            self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        super().handle_websocket_upgrade(event)
        self._be_patient()
        self._look_away()

    def connection_lost(self, exc: Exception | None) -> None:
        self._be_patient()
        super().connection_lost(exc)

    def _wait(self) -> None:
        """For what comes next, if that is not what is waited for already."""
        awaited = self.conn.their_state
        if self.transport.get_protocol() is not self or awaited is self._awaited:
            return
        self._be_patient()
        self._awaited = awaited
        seconds = IDLE_S if awaited is h11.IDLE else BODY_S if awaited is h11.SEND_BODY else None
        if seconds is not None:
            self._patience = self.loop.call_later(seconds, self._end)

    def _end(self) -> None:
        """Nothing has come; but what they have not read yet of the last answer is theirs."""
        if self.transport.get_write_buffer_size():
            self.transport.close()
        else:
            self.transport.abort()

    def _be_patient(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


def _address(connection: Any) -> str | None:
    """Where a protocol of uvicorn's has its peer."""
    return connection.client[0] if connection.client else None


def _settings(app: Any, config: HttpAddresses, given: dict[str, Any]) -> uvicorn.Config:
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    common: dict[str, Any] = {
        "log_config": None,
        "access_log": False,
        "http": _Connection,
        "ws": _WebSocket,
        "server_header": False,
        "proxy_headers": False,
        "backlog": BACKLOG,
        "limit_concurrency": CONNECTIONS,
        "timeout_keep_alive": IDLE_S,
        "ssl_certfile": config.certificate,
        "ssl_keyfile": config.key,
    }
    settings = uvicorn.Config(app, **(common | given))
    settings.load()
    return settings


def _open_sockets(table: str, config: HttpAddresses) -> list[socket]:
    """All addresses on one port. Raises ConfigError."""
    sockets: list[socket] = []
    port = config.port
    for address in config.bind:
        try:
            sockets.append(tcp_socket(address, port))
        except (OSError, ValueError) as error:
            for each in sockets:
                each.close()
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"{table}.port: cannot listen on {address} port {port}: {reason}; choose another"
            ) from None
        port = sockets[-1].getsockname()[1]
    return sockets


def _url(listening: socket, config: HttpAddresses) -> str:
    host, port = listening.getsockname()[:2]
    scheme = "https" if config.certificate is not None else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
