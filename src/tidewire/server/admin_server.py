"""Where does the administration listen? uvicorn on the broker's own loop, with the broker's life."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from socket import socket
from typing import TYPE_CHECKING, Any, Final

from tidewire.server.admin import Admin
from tidewire.server.admin_config import AdminConfig, AdminConfigFault, check_addresses, read_token
from tidewire.server.config import ConfigError
from tidewire.server.listener import tcp_socket
from tidewire.server.log import logger

try:
    import uvicorn

    from tidewire.server.admin_http import Api
except ImportError as error:
    raise ConfigError(f"[admin] needs {error.name}, which is not installed: pip install 'tidewire[admin]'") from None

if TYPE_CHECKING:
    from tidewire.server.server import Server

BACKLOG: Final = 128
CONNECTIONS: Final = 256
"""Requests at a time; more are told to come again."""
CUT_S: Final = 1.0
"""How long a request may take to see that its connection was cut."""
IDLE_S: Final = 10
"""How long a connection may wait for its next request."""


class AdminServer:
    """The administration of one broker over HTTP, while the broker runs."""

    def __init__(self, urls: list[str], server: _Uvicorn, serving: asyncio.Task[None]) -> None:
        self.urls = urls
        """`http://127.0.0.1:9883`"""
        self._server = server
        self._serving = serving

    @classmethod
    async def open(cls, server: Server, config: AdminConfig) -> AdminServer:
        """Raises ConfigError for a token, a certificate or an address that cannot be used."""
        try:
            token = read_token(config)
            check_addresses(config)
        except AdminConfigFault as fault:
            raise ConfigError(f"admin.{'.'.join(fault.key)}: {fault}") from None
        sockets = _open_sockets(config)
        urls = [_url(each, config) for each in sockets]
        try:
            http = _Uvicorn(_settings(Api(server, Admin(server)).app(token), config))
        except OSError as error:  # ssl.SSLError is one
            for each in sockets:
                each.close()
            raise ConfigError(f"admin.certificate: {config.certificate} cannot be used: {error}") from None
        serving = asyncio.create_task(http.serve(sockets), name="tidewire: admin")
        await asyncio.wait([serving, ready := asyncio.create_task(http.ready.wait())], return_when="FIRST_COMPLETED")
        ready.cancel()
        if serving.done():
            raise ConfigError(f"admin: cannot serve: {serving.exception()}")
        logger.info("admin: %s", ", ".join(urls))
        return cls(urls, http, serving)

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


def _settings(app: Any, config: AdminConfig) -> uvicorn.Config:
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    settings = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        http="h11",
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=IDLE_S,
        ssl_certfile=config.certificate,
        ssl_keyfile=config.key,
    )
    settings.load()
    return settings


def _open_sockets(config: AdminConfig) -> list[socket]:
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
            raise ConfigError(f"admin.port: cannot listen on {address} port {port}: {reason}; choose another") from None
        port = sockets[-1].getsockname()[1]
    return sockets


def _url(listening: socket, config: AdminConfig) -> str:
    host, port = listening.getsockname()[:2]
    scheme = "https" if config.certificate is not None else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
