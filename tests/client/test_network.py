"""Does the client find its server by every kind of URL, and say in one line why it does not?"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.client.brokers import PASSWORD, USER_NAME, RunningBroker
from tests.client.certificates import Certificates
from tests.client.gateway import gateway
from tests.client.helpers import LoopFactory, run, take
from tests.client.scripted import Peer, ScriptedServer
from tidewire import Client, ConnectionFailed, ConnectionRefused
from tidewire.client.errors import ConnectionLost


async def works(client: Client, topic: str) -> None:
    """Connect, and get what is published, a large message as well."""
    async with client, client.subscribe(topic, qos=2) as stream:
        await client.publish(topic, b"small", qos=1)
        await client.publish(topic, bytes(500_000), qos=1)
        assert [len(payload) for payload in await take(stream, 2)] == [5, 500_000]


@pytest.mark.parametrize(
    "url", ["mqtt://127.0.0.1:{}", "127.0.0.1:{}", "tcp://localhost:{}", "mqtt://u:p@127.0.0.1:{}"]
)
def test_plain_tcp(broker: RunningBroker, topic: str, url: str) -> None:
    run(works(Client(url.format(broker.port)), topic))


@pytest.mark.parametrize("broker", ["mosquitto", "tidewire"], indirect=True)
def test_a_unix_socket(broker: RunningBroker, version: Any, topic: str, loop_factory: LoopFactory) -> None:
    run(works(Client(broker.urls["unix"], version=version), topic), loop_factory)


def test_a_local_address_to_come_from(broker: RunningBroker, topic: str) -> None:
    run(works(Client(broker.url, bind_address="127.0.0.1"), topic))


@pytest.mark.parametrize("broker", ["mosquitto", "tidewire"], indirect=True)
def test_user_name_and_password(broker: RunningBroker, version: Any, topic: str) -> None:
    async def test() -> None:
        url = broker.urls["closed"]
        await works(Client(url, version=version, user_name=USER_NAME, password=PASSWORD), topic)
        in_the_url = url.replace("://", f"://{USER_NAME}:{PASSWORD.replace(' ', '%20')}@")
        await works(Client(in_the_url, version=version), topic)
        refused = Client(url, version=version, user_name=USER_NAME, password="wrong", retry_first_connect=True)
        with pytest.raises(
            ConnectionRefused, match=r"the server refused the connection: .*(user|authorized)"
        ) as caught:
            await refused.connect()
        assert caught.value.permanent
        assert not refused.connected

    run(test())


# -- TLS


@pytest.mark.parametrize("broker", ["mosquitto"], indirect=True)
def test_tls(
    broker: RunningBroker, certificates: Certificates, version: Any, topic: str, loop_factory: LoopFactory
) -> None:
    tls = certificates.client_context()
    run(works(Client(broker.urls["mqtts"], version=version, tls=tls), topic), loop_factory)


@pytest.mark.parametrize("broker", ["mosquitto"], indirect=True)
def test_a_certificate_that_is_wrong(
    broker: RunningBroker, certificates: Certificates, loop_factory: LoopFactory
) -> None:
    async def test() -> None:
        url = broker.urls["mqtts"]
        with pytest.raises(ConnectionFailed, match=r"^TLS: .*:\d+ cannot be trusted: .*; name its authority: tls=ssl"):
            await Client(url).connect()
        by_address = url.replace("localhost", "127.0.0.1")
        with pytest.raises(
            ConnectionFailed, match=r"^TLS: .* 127.0.0.1:\d+ is not valid for '127.0.0.1'; it is for 'localhost'$"
        ):
            await Client(by_address, tls=certificates.client_context()).connect()

    run(test(), loop_factory)


def test_tls_where_there_is_none(broker: RunningBroker, loop_factory: LoopFactory) -> None:
    async def test() -> None:
        with pytest.raises(ConnectionFailed, match=r"TLS|closed the connection|lost"):
            await Client(f"mqtts://127.0.0.1:{broker.port}").connect()

    run(test(), loop_factory)


# -- WebSocket


@contextlib.asynccontextmanager
async def websocket_url(broker: RunningBroker) -> AsyncIterator[str]:
    """The broker's own listener, or a gateway's."""
    if own := broker.urls.get("ws"):
        yield own
        return
    async with gateway(broker.port) as made:
        yield f"ws://127.0.0.1:{made.port}"


def test_websocket(broker: RunningBroker, version: Any, topic: str, loop_factory: LoopFactory) -> None:
    async def test() -> None:
        async with websocket_url(broker) as url:
            await works(Client(url, version=version), topic)

    run(test(), loop_factory)


def test_websocket_over_tls_with_headers(
    broker: RunningBroker, certificates: Certificates, topic: str, loop_factory: LoopFactory
) -> None:
    async def test() -> None:
        async with gateway(broker.port, certificates.server_context()) as made:
            url = f"wss://localhost:{made.port}/path?token=1"
            await works(Client(url, tls=certificates.client_context(), headers={"X-Token": "42"}), topic)
            (request,) = made.requests
            assert request.path == "/path?token=1"
            assert request.headers["X-Token"] == "42"
            assert request.headers["Sec-WebSocket-Protocol"] == "mqtt"

    run(test(), loop_factory)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "answered the WebSocket request with HTTP status 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "answered the WebSocket request with HTTP status 200"),
        (b"\x20\x02\x00\x00", "127.0.0.1"),
        (b"", "does not speak WebSocket"),
    ],
)
def test_what_answers_is_no_websocket(answer: bytes, told: str, loop_factory: LoopFactory) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_some()
        peer.send_bytes(answer)
        peer.close()

    async def test() -> None:
        async with ScriptedServer(script) as server:
            with pytest.raises(ConnectionFailed, match=told):
                await Client(server.url.replace("mqtt:", "ws:")).connect()

    run(test(), loop_factory)


def test_a_websocket_that_never_answers_is_let_go(loop_factory: LoopFactory) -> None:
    async def test() -> None:
        gone = asyncio.Event()

        async def script(peer: Peer) -> None:
            while await peer.read_some():
                pass
            gone.set()

        async with ScriptedServer(script) as server:
            with pytest.raises(ConnectionFailed, match=r"no answer from 127.0.0.1:\d+ in 0.05 s"):
                await Client(server.url.replace("mqtt:", "ws:"), connect_timeout=0.05).connect()
            await gone.wait()

    run(test(), loop_factory)


# -- nobody there


def test_nobody_listens(loop_factory: LoopFactory) -> None:
    async def test() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # and does not listen
            port = taken.getsockname()[1]
            for url in (f"mqtt://127.0.0.1:{port}", f"ws://127.0.0.1:{port}", f"mqtt://localhost:{port}"):
                with pytest.raises(
                    ConnectionFailed, match=rf"^connection refused by .*:{port}: nothing listens there$"
                ):
                    await Client(url).connect()

    run(test(), loop_factory)


def test_a_host_that_cannot_be_found(loop_factory: LoopFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async def unknown(*_: Any, **__: Any) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        for url in ("mqtt://no..name", f"mqtt://{'x' * 64}.test"):
            with pytest.raises(ConnectionFailed, match=r"^cannot find the host '"):
                await Client(url).connect()
        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", unknown, raising=False)
        with pytest.raises(ConnectionFailed, match=r"^cannot find the host 'nowhere.test'$"):
            await Client("mqtt://nowhere.test").connect()

    run(test(), None if "uvloop" in getattr(loop_factory, "__module__", "") else loop_factory)


def test_a_unix_socket_that_is_not_there(tmp_path: Path, loop_factory: LoopFactory) -> None:
    async def test() -> None:
        with pytest.raises(ConnectionFailed, match=f"^there is no socket at {tmp_path}/none$"):
            await Client(f"unix://{tmp_path}/none").connect()
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(str(tmp_path / "dead"))
        dead.close()
        with pytest.raises(ConnectionFailed, match=f"^connection refused by {tmp_path}/dead: nothing listens there$"):
            await Client(f"unix://{tmp_path}/dead").connect()

    run(test(), loop_factory)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 9])
def test_what_answers_is_no_mqtt_server(answer: bytes, loop_factory: LoopFactory) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_some()
        peer.send_bytes(answer)
        peer.close()

    async def test() -> None:
        async with ScriptedServer(script) as server:
            with pytest.raises(ConnectionFailed, match=r"broke the protocol|the connection was lost"):
                await Client(server.url).connect()

    run(test(), loop_factory)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"", r"closed the connection before CONNACK; it may want TLS: mqtts://…$"),
        (b"\x15\x03\x01\x00\x02\x02\x46", r"the server speaks TLS: mqtts://…$"),
    ],
)
def test_a_server_that_wants_TLS_is_known_by_what_it_does(answer: bytes, told: str, loop_factory: LoopFactory) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_some()
        peer.send_bytes(answer)
        peer.close()

    async def test() -> None:
        async with ScriptedServer(script) as server:
            with pytest.raises(ConnectionLost, match=told):
                await Client(server.url).connect()

    run(test(), loop_factory)


def test_a_server_that_knows_no_MQTT_5_is_known_by_its_refusal(loop_factory: LoopFactory) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_some()
        peer.send_bytes(b"\x20\x02\x00\x01")
        await peer.read_some()

    async def test() -> None:
        async with ScriptedServer(script) as server:
            with pytest.raises(ConnectionRefused, match=r'take an older one: version="3.1.1"$') as caught:
                await Client(server.url, retry_first_connect=True).connect()
            assert (caught.value.reason_code, caught.value.permanent) == (0x84, True)
            with pytest.raises(ConnectionRefused, match=r"\(return code 1\)$"):
                await Client(server.url, version="3.1.1").connect()

    run(test(), loop_factory)


def test_a_server_that_never_answers(loop_factory: LoopFactory) -> None:
    async def script(peer: Peer) -> None:
        while await peer.read_some():
            pass

    async def test() -> None:
        async with ScriptedServer(script) as server:
            for scheme in ("mqtt:", "mqtts:"):
                with pytest.raises(ConnectionFailed, match=r"no answer from 127.0.0.1:\d+ in 0.05 s"):
                    await Client(server.url.replace("mqtt:", scheme), connect_timeout=0.05).connect()

    run(test(), loop_factory)
