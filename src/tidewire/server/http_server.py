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
IDLE_S: Final = 10
"""How long a connection may wait for its next request, and that may take to come, up to its body."""
BODY_S: Final = 60
"""How long a body may take: some megabytes from a telephone."""


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
        await super().startup(sockets)
        self.ready.set()


class _Connection(H11Protocol):
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
            self._patience = self.loop.call_later(seconds, self.transport.abort)

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
