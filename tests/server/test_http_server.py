"""Is nobody waited for who does not shake hands, or does not read what they have asked for?"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("uvicorn", reason="the extra admin is not installed")

from tests.process import PATIENCE_S
from tidewire.server import http_server
from tidewire.server.certificate_directory import CertificateDirectory
from tidewire.server.console_config import ConsoleConfig
from tidewire.server.http_server import HttpServer

BODY = bytes(8 * 1024 * 1024)
"""More than sockets of loopback take."""

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n"
WEBSOCKET = (
    REQUEST + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGlkZXdpcmV0aWRld2lyZQ==\r\n\r\n"
)

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Both loops that a broker may have: each writes in its own way."""
    run: Run = pytest.importorskip(request.param).run
    return run


class Answers:
    """An application whose every answer is BODY."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        """A connection has ended whose answer was not read to its end."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": BODY, "more_body": True})
        else:
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "bytes": BODY})
        while "disconnect" not in (await receive())["type"]:
            pass
        self.lost.set()


@contextlib.asynccontextmanager
async def serving(app: Any, **config: Any) -> AsyncIterator[socket.socket]:
    """A connection to it."""
    server = await HttpServer.open(app, "console", ConsoleConfig(port=0, **config), lifespan="off")
    url = urlsplit(server.urls[0])
    with socket.create_connection((url.hostname, url.port), PATIENCE_S) as connection:
        yield connection
    await server.close()


def read(connection: socket.socket) -> bytes:
    """To its end."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(1 << 20):
            parts.append(part)
    return b"".join(parts)


def test_a_tls_handshake_that_does_not_begin_is_not_waited_for(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "HANDSHAKE_S", 0.05)
    place = CertificateDirectory(tmp_path / "certs")
    place.make(["localhost"], (), 2, "ec", datetime.now(UTC))
    certificate, key = str(place.file("server")), str(place.key_file("server"))

    async def check() -> None:
        async with serving(Answers(), certificate=certificate, key=key) as connection:
            assert await asyncio.to_thread(read, connection) == b""

    run(check())


@pytest.mark.parametrize("request_", [REQUEST + b"\r\n", WEBSOCKET], ids=["http", "websocket"])
def test_who_does_not_read_is_cut(run: Run, monkeypatch: pytest.MonkeyPatch, request_: bytes) -> None:
    monkeypatch.setattr(http_server, "STANDSTILL_S", 0.05)

    async def check() -> None:
        app = Answers()
        async with serving(app) as connection:
            connection.sendall(request_)
            await asyncio.wait_for(app.lost.wait(), PATIENCE_S)
            assert len(await asyncio.to_thread(read, connection)) < len(BODY)

    run(check())


def test_who_reads_late_what_was_answered_gets_all_of_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = asyncio.Event()
    end = http_server._Connection._end

    def seen(connection: http_server._Connection) -> None:
        end(connection)
        ended.set()

    monkeypatch.setattr(http_server, "IDLE_S", 0.05)
    monkeypatch.setattr(http_server._Connection, "_end", seen)

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": BODY})

    async def check() -> None:
        async with serving(answer) as connection:
            connection.sendall(REQUEST + b"\r\n")
            await asyncio.wait_for(ended.wait(), PATIENCE_S)
            assert (await asyncio.to_thread(read, connection)).count(b"\0") == len(BODY)

    run(check())


class Transport:
    """Bytes wait in it."""

    def __init__(self) -> None:
        self.waiting = 0
        self.closing = self.aborted = False

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.aborted = True


class Looks:
    """In the place of a loop: a look is taken when the test says so."""

    def __init__(self) -> None:
        watched: Any = http_server._Watched()
        self.transport = watched.transport = Transport()
        watched.loop = self
        watched.connection_made(self.transport)
        self.watched = watched

    def call_later(self, _: float, look: Callable[[], None]) -> None:
        self._next = look

    def look(self, waiting: int) -> bool:
        """Whether the connection lives on with so much unread."""
        self.transport.waiting = waiting
        self._next()
        return not self.transport.aborted


ENOUGH = http_server.STANDSTILL_BYTES


def test_who_reads_on_stays_and_who_hardly_does_is_cut_at_the_second_look() -> None:
    looks = Looks()
    looks.watched.pause_writing()
    assert all(looks.look(parts * ENOUGH) for parts in (9, 7, 6, 5))
    assert not looks.look(4 * ENOUGH + 1)


def test_who_has_made_room_for_more_is_not_held_to_what_waited_before() -> None:
    looks = Looks()
    looks.watched.pause_writing()
    assert looks.look(ENOUGH)
    looks.watched.resume_writing()
    assert looks.look(ENOUGH)  # written since
    looks.watched.pause_writing()
    assert looks.look(ENOUGH)
    assert not looks.look(ENOUGH)


def test_who_does_not_read_the_last_of_a_connection_that_closes_is_cut() -> None:
    looks = Looks()
    assert looks.look(1) and looks.look(1)  # more may come, and they may read then
    looks.transport.closing = True
    assert looks.look(1)
    assert not looks.look(1)
