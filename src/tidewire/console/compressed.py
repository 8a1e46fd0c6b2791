"""How do the scripts and styles of the pages travel? Compressed: each file once, in a thread, and kept.

NiceGUI finds a file and says what it is; the answer itself is written here. The pages are not compressed: beside these
they are small, and the length of compressed text tells something of what is in it.
"""

from __future__ import annotations

import asyncio
import gzip
import re
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

KEPT_BYTES: Final = 8 * 1024 * 1024
"""Of compressed files: all that NiceGUI brings are six, all that the pages ask for less than one."""

WRITTEN_BYTES: Final = 64 * 1024
"""At a time: who reads slowly holds no more of a file in memory."""

_KINDS: Final = (".js", ".mjs", ".css")
"""Fonts and pictures are compressed already."""

_PATH: Final = "http.response.pathsend"
"""The extension of ASGI by which an application names a file instead of reading it."""

_GZIP: Final = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))")
"""In Accept-Encoding (RFC 9110, 12.5.3)."""


class Compressed:
    """Before an application, for the files below one path of it."""

    def __init__(self, app: ASGIApp, below: str) -> None:
        self._app = app
        self._below = below
        self._kept: dict[tuple[str, str], bytes] = {}
        """(path, entity tag) → what travels; the oldest first."""
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not (scope["path"].startswith(self._below) and scope["path"].endswith(_KINDS)):
            await self._app(scope, receive, send)
            return
        if scope["method"] == "GET" and _GZIP.search(Headers(scope=scope).get("accept-encoding", "").lower()):
            scope["extensions"] = {**scope.get("extensions", {}), _PATH: {}}
        start: Message | None = None

        async def sending(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                MutableHeaders(raw=message["headers"]).add_vary_header("Accept-Encoding")
                start = message  # what else it says depends on what follows
            elif message["type"] == _PATH and start is not None:
                await self._answer(start, message["path"], send)
            else:
                if start is not None:
                    await send(start)
                    start = None
                await send(message)

        await self._app(scope, receive, sending)

    async def _answer(self, start: Message, path: str, send: Send) -> None:
        headers = MutableHeaders(raw=start["headers"])
        data = await self._data(path, headers["etag"])
        headers["etag"] = f"W/{headers['etag']}"  # means the same, but is not byte by byte (RFC 9110, 8.8.1)
        headers["content-encoding"] = "gzip"
        headers["content-length"] = str(len(data))
        del headers["accept-ranges"]
        await send(start)
        for begin in range(0, len(data), WRITTEN_BYTES):
            end = begin + WRITTEN_BYTES
            await send({"type": "http.response.body", "body": data[begin:end], "more_body": end < len(data)})

    async def _data(self, path: str, tag: str) -> bytes:
        async with self._one_at_a_time:
            data = self._kept.get((path, tag))
            if data is None:
                data = await asyncio.to_thread(_zipped, path)
                self._kept[path, tag] = data
                while sum(map(len, self._kept.values())) > KEPT_BYTES:
                    del self._kept[next(iter(self._kept))]
            return data


def _zipped(path: str) -> bytes:
    return gzip.compress(Path(path).read_bytes(), 6, mtime=0)
