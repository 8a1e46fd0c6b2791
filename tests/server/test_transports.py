"""Is MQTT the same over TCP, TLS, WebSocket and both, for a client that only names another URL?"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime

import pytest

from tests.server.handshake import client_context
from tidewire import Client, Will
from tidewire.server.certificate_directory import CertificateDirectory
from tidewire.testing import BrokerThread

WAYS = ["mqtt", "mqtts", "ws", "wss"]
VERSIONS = ["3.1.1", "5.0"]
MESSAGES = 500


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> CertificateDirectory:
    place = CertificateDirectory(tmp_path_factory.mktemp("transports") / "certs")
    place.make(["localhost"], (), 2, "ec", datetime.now(UTC))
    return place


@pytest.fixture(scope="module")
def broker(certificates: CertificateDirectory) -> Iterator[BrokerThread]:
    tls = {"certificate": str(certificates.file("server")), "key": str(certificates.key_file("server"))}
    base = {"bind": ["127.0.0.1"], "port": 0}
    listeners = [base | {"tls": tls}, base | {"protocol": "websocket"}, base | {"protocol": "websocket", "tls": tls}]
    with BrokerThread({"bind": ["127.0.0.1"], "listener": listeners}) as broker:
        yield broker


Connecting = Callable[..., contextlib.AbstractAsyncContextManager[Client]]


@pytest.fixture(params=[(way, version) for way in WAYS for version in VERSIONS], ids=lambda way: f"{way[0]}-v{way[1]}")
def client(request: pytest.FixtureRequest, broker: BrokerThread, certificates: CertificateDirectory) -> Connecting:
    """What makes a client of one way and version."""
    way, version = request.param
    url = broker.urls[WAYS.index(way)]
    tls: ssl.SSLContext | None = client_context(certificates) if way in ("mqtts", "wss") else None

    @contextlib.asynccontextmanager
    async def connecting(name: str, **options: object) -> AsyncIterator[Client]:
        made = Client(url, client_id=f"{name}-{way}-{version}", version=version, tls=tls, **options)  # type: ignore[arg-type]
        async with made:
            yield made

    return connecting


def run(work: Awaitable[None]) -> None:
    async def within() -> None:
        async with asyncio.timeout(60):
            await work

    asyncio.run(within())


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_many_messages_arrive_once_and_in_order(client: Connecting, qos: int) -> None:
    async def work() -> None:
        async with (
            client("reader") as reader,
            client("writer") as writer,
            reader.subscribe(f"order/{qos}", qos=qos) as stream,
        ):
            payloads = [str(number).encode() for number in range(MESSAGES)]
            await asyncio.gather(*(writer.publish(f"order/{qos}", payload, qos=qos) for payload in payloads))
            assert [(await anext(stream)).payload for _ in payloads] == payloads

    run(work())


def test_a_large_message_arrives_whole(client: Connecting) -> None:
    async def work() -> None:
        async with client("large") as both, both.subscribe("large", qos=1) as stream:
            payload = bytes(range(256)) * 16_384  # 4 MiB
            await both.publish("large", payload, qos=1)
            assert (await anext(stream)).payload == payload

    run(work())


def test_what_is_retained_is_there_for_who_comes_later(client: Connecting) -> None:
    async def work() -> None:
        async with client("retaining") as writer:
            await writer.publish("retained", b"kept", qos=1, retain=True)
        async with client("later") as reader, reader.subscribe("retained", qos=1) as stream:
            message = await anext(stream)
            assert (message.payload, message.retain) == (b"kept", True)

    run(work())


def test_the_will_of_one_that_breaks_off_is_published(client: Connecting, broker: BrokerThread) -> None:
    async def work() -> None:
        async with (
            client("heir") as heir,
            heir.subscribe("will") as stream,
            client("testator", will=Will("will", b"gone")) as testator,
        ):
            await asyncio.to_thread(broker.faults.cut, testator.client_id)
            assert (await anext(stream)).payload == b"gone"

    run(work())
