"""What does the message cost as a POST? httpx against Hypercorn, HTTP/1.1 and HTTP/2, as both are set up by default."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import quote

import h2  # noqa: F401 (httpx wants it for HTTP/2, and finds out late)
import httpx
from hypercorn.asyncio import serve
from hypercorn.config import Config

from tidewire.overhead.mqtt import Message
from tidewire.overhead.peers import Served, Way, named


@asynccontextmanager
async def serving(message: Message) -> AsyncIterator[Served]:
    """A server that takes every message and answers 204."""
    stop = asyncio.Event()
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.errorlog = None
    server = asyncio.create_task(serve(_application, config, shutdown_trigger=stop.wait))  # type: ignore[arg-type]
    implementation = named("httpx", "Hypercorn")
    try:
        yield Served(
            port,
            [
                Way("HTTP/1.1, a connection each", partial(_Poster, False, False), implementation, False),
                Way("HTTP/1.1, kept", partial(_Poster, False, True), implementation),
                Way("HTTP/2, kept", partial(_Poster, True, True), implementation),
            ],
        )
    finally:
        stop.set()
        await server


async def _application(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] != "http":
        raise ValueError("only HTTP is served")  # which tells Hypercorn that there is no lifespan either
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


class _Poster:
    """A client. HTTP/2 is spoken at once, without an upgrade ("prior knowledge", RFC 9113, section 3.3)."""

    def __init__(self, http2: bool, keep: bool) -> None:
        self._make = partial(httpx.AsyncClient, http1=not http2, http2=http2, trust_env=False)
        self._kept = self._make() if keep else None
        self._base = ""

    async def open(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"

    async def send(self, message: Message) -> None:
        if self._kept is not None:
            await self._post(self._kept, message)
            return
        async with self._make() as client:
            await self._post(client, message)

    async def close(self) -> None:
        if self._kept is not None:
            await self._kept.aclose()

    async def _post(self, client: httpx.AsyncClient, message: Message) -> None:
        response = await client.post(f"{self._base}/{quote(message.topic)}", content=message.payload)
        response.raise_for_status()
