"""What does the message cost by CoAP? aiocoap on both sides, over UDP, confirmable and not [RFC 7252]."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final
from urllib.parse import quote

import aiocoap  # type: ignore[import-untyped]
from aiocoap import resource

from tidewire.overhead.mqtt import Message
from tidewire.overhead.peers import Served, Way, named

TRANSPORTS: Final = ["udp6"]
"""Of aiocoap: UDP, IPv4 too. By default it would open TCP, TLS and WebSocket beside it."""


@asynccontextmanager
async def serving(message: Message) -> AsyncIterator[Served]:
    """A server that takes the message as a PUT and answers 2.04 (Changed)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    site = resource.Site()
    site.add_resource(message.topic.split("/"), _Taker())
    server = await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", port), transports=TRANSPORTS)
    implementation = named("aiocoap")
    ways = [
        Way("CoAP, confirmable", partial(_Putter, aiocoap.CON), implementation, datagrams=True),
        Way("CoAP, not confirmable", partial(_Putter, aiocoap.NON), implementation, datagrams=True),
    ]
    try:
        yield Served(port, ways)
    finally:
        await server.shutdown()


class _Taker(resource.Resource):  # type: ignore[misc]
    async def render_put(self, request: aiocoap.Message) -> aiocoap.Message:
        return aiocoap.Message(code=aiocoap.CHANGED)


class _Putter:
    def __init__(self, kind: aiocoap.Type) -> None:
        self._kind = kind
        self._context: aiocoap.Context | None = None
        self._base = ""

    async def open(self, port: int) -> None:
        self._context = await aiocoap.Context.create_client_context(transports=TRANSPORTS)
        self._base = f"coap://127.0.0.1:{port}"

    async def send(self, message: Message) -> None:
        assert self._context is not None
        request = aiocoap.Message(
            code=aiocoap.PUT, uri=f"{self._base}/{quote(message.topic)}", payload=message.payload, _mtype=self._kind
        )
        response = await self._context.request(request).response_raising
        if not response.code.is_successful():
            raise ConnectionError(f"the CoAP server answered {response.code}")

    async def close(self) -> None:
        if self._context is not None:
            await self._context.shutdown()
