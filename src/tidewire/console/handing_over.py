"""How does a file that a page has made get to its browser? By a link that holds until it was fetched.

Over the WebSocket of the page it would keep back all else that goes there, the signs of life too: over a slow line the
browser would take the broker for dead.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from typing import Final

from nicegui import app, ui
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

FETCHED_S: Final = 300.0
"""How long a link holds, and a file waits in the broker's memory: the largest takes so long over a slow line."""

WRITTEN_BYTES: Final = 64 * 1024
"""At a time: the rest waits until the browser has read on."""

_LINK: Final = "/files/"


class _File(StreamingResponse):
    def __init__(self, data: bytes, media_type: str) -> None:
        self.fetched = asyncio.Event()
        headers = {"content-length": str(len(data)), "content-disposition": "attachment", "cache-control": "no-store"}
        super().__init__(_parts(data), headers=headers, media_type=media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.fetched.set()


_OFFERED: Final[dict[str, _File]] = {}
"""By their secrets."""


def register_files() -> None:
    """Make the links known to NiceGUI."""
    app.add_route(_LINK + "{secret}", _fetch)


async def hand_over(data: bytes, name: str, media_type: str) -> None:
    """Let the browser of the page fetch a file; wait until it has it, or has gone."""
    secret = secrets.token_urlsafe()
    file = _OFFERED[secret] = _File(data, media_type)
    ui.download(_LINK + secret, name)
    ends = [asyncio.create_task(end) for end in (file.fetched.wait(), ui.context.client.disconnected())]
    try:
        await asyncio.wait(ends, timeout=FETCHED_S, return_when="FIRST_COMPLETED")
    finally:
        _OFFERED.pop(secret, None)
        for end in ends:
            end.cancel()


async def _fetch(request: Request) -> Response:
    file = _OFFERED.pop(request.path_params["secret"], None)  # once: it says when it was fetched
    return Response("This file was fetched already, or not in time.\n", 404) if file is None else file


async def _parts(data: bytes) -> AsyncGenerator[bytes, None]:
    for begin in range(0, len(data), WRITTEN_BYTES):
        yield data[begin : begin + WRITTEN_BYTES]
