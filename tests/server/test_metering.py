"""Do a client's figures equal what its socket carried, layer by layer, and outlive the broker; do budgets hold?"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.server.handshake import client_context
from tidewire import Client
from tidewire.engine import meter
from tidewire.server import below_mqtt
from tidewire.server.certificate_directory import CertificateDirectory
from tidewire.server.config import ConfigError, read_config
from tidewire.server.embedded import Broker
from tidewire.server.metering import ROUND_S, SAVE_S
from tidewire.server.tcp_info import IPV4_HEADER_BYTES, SYN_OPTION_BYTES, tcp_info
from tidewire.store.meter_rows import Metered
from tidewire.wire.codes import ReasonCode
from tidewire.wire.packets import Connect, Disconnect, Publish

needs_kernel = pytest.mark.skipif(sys.platform != "linux", reason="only the kernel of Linux counts")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> CertificateDirectory:
    place = CertificateDirectory(tmp_path_factory.mktemp("metering") / "certs")
    place.make(["localhost"], (), 2, "ec", datetime.now(UTC))
    return place


def run(work: Awaitable[None]) -> None:
    async def within() -> None:
        async with asyncio.timeout(30):
            await work

    asyncio.run(within())


class Line:
    """A client by hand that counts what its socket carries."""

    def __init__(self) -> None:
        self.sent = self.received = 0
        self.socket = socket.socket()
        self.socket.setblocking(False)

    async def connect(self, broker: Broker, name: str, version: int = 4) -> Line:
        await asyncio.get_running_loop().sock_connect(self.socket, ("127.0.0.1", broker.port))
        await self.ask(Connect(name, version).encode(version))
        return self

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)
        self.sent += len(data)

    async def read(self) -> bytes:
        data = await asyncio.get_running_loop().sock_recv(self.socket, 65_536)
        self.received += len(data)
        return data

    async def ask(self, data: bytes) -> bytes:
        await self.send(data)
        return await self.read()

    async def end(self, broker: Broker) -> None:
        """Say good-bye, and return when the broker has closed the connection and counted it."""
        await self.send(Disconnect().encode(4))
        while await self.read():
            pass
        self.socket.shutdown(socket.SHUT_WR)
        await left(broker)


async def left(broker: Broker) -> None:
    assert await broker.server.gate.empty(10)


def of(broker: Broker, name: str, period: str = "month") -> Metered:
    told = broker.server.metering.client(name, period)
    assert told is not None
    return told


# -- what is counted


@needs_kernel
def test_bytes_and_segments_are_those_of_the_socket_and_of_the_kernel() -> None:
    async def work() -> None:
        async with Broker(port=0) as broker:
            line = await Line().connect(broker, "sensor")
            for number in range(1, 6):
                await line.ask(Publish(b"a/b", b"x" * 100 * number, 1, packet_identifier=number).encode(4))
            alive = of(broker, "sensor")
            assert (alive.received.mqtt, alive.sent.mqtt) == (line.sent, line.received)
            await line.end(broker)
            info = tcp_info(line.socket, IPV4_HEADER_BYTES)
            told = of(broker, "sensor")
            assert info is not None
            assert (told.received.mqtt, told.sent.mqtt) == (line.sent, line.received)
            assert (told.received.payload, told.sent.payload) == (1500, 0)
            assert told.received.mqtt == info.sent_bytes
            assert told.received.websocket == told.received.tls == told.sent.websocket == told.sent.tls == 0
            # Of the last segments one side cannot know how the kernels have put them together.
            assert abs(told.received.segments - info.segments_out) <= 1
            assert abs(told.sent.segments - info.segments_in) <= 1
            options = SYN_OPTION_BYTES
            for flow in (told.received, told.sent):
                assert flow.tcp_ip == flow.segments * info.header_bytes + options
                assert 0 < flow.estimated < flow.tcp_ip
            line.socket.close()

    run(work())


@pytest.mark.parametrize("way", ["mqtt", "mqtts", "ws", "wss", "unix"])
@pytest.mark.parametrize("version", ["3.1.1", "5.0"])
def test_layers_add_up_to_what_the_other_end_has_counted(
    way: str, version: str, certificates: CertificateDirectory, tmp_path: Path
) -> None:
    async def work() -> None:
        async with Broker(listening(way, certificates, tmp_path)) as broker:
            relay = Relay(broker)
            async with relay.serving() as url, meeting(url, way, version, certificates) as client:
                for number in range(9):
                    await client.publish(f"room/{number % 3}/light", b"x" * 300, qos=number % 3)
            await left(broker)
            told = of(broker, "walker")
            for flow, counted in ((told.received, relay.sent), (told.sent, relay.received)):
                assert flow.mqtt + flow.websocket + flow.tls == counted
                assert (flow.websocket > 0) == way.startswith("ws")
                assert (flow.tls > 0) == (way in ("mqtts", "wss"))
                assert (flow.tcp_ip > 0) == (way != "unix")
            assert told.received.payload == 2700
            assert told.received.packets["PUBLISH"].count == 9
            assert sum(each.bytes for each in told.received.packets.values()) == told.received.mqtt
            assert sum(each.bytes for each in told.sent.packets.values()) == told.sent.mqtt

    if way in ("mqtts", "wss") and sys.platform != "linux":
        pytest.skip("what TLS adds is estimated here")
    run(work())


@pytest.mark.parametrize("way", ["mqtt", "mqtts"])
def test_where_the_kernel_does_not_tell_it_is_estimated_and_said_so(
    way: str, certificates: CertificateDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(below_mqtt, "tcp_info", lambda *_: None)

    async def work() -> None:
        async with Broker(listening(way, certificates, tmp_path)) as broker:
            async with meeting(broker.urls[0], way, "5.0", certificates) as client:
                await client.publish("a", b"x" * 100, qos=1)
            await left(broker)
            told = of(broker, "walker")
            for flow in (told.received, told.sent):
                assert flow.estimated == flow.tcp_ip + flow.tls > 0
                assert (flow.tls > 0) == (way == "mqtts")
                assert flow.segments >= flow.transfers

    run(work())


def test_the_clients_and_those_who_never_were_are_the_total() -> None:
    async def work() -> None:
        async with Broker(port=0) as broker:
            stranger = Line()
            await asyncio.get_running_loop().sock_connect(stranger.socket, ("127.0.0.1", broker.port))
            assert await stranger.ask(b"GET / HTTP/1.1\r\n\r\n") == b""
            stranger.socket.close()
            async with (
                Client(broker.url, client_id="a") as one,
                Client(broker.url, client_id="b") as two,
                two.subscribe("t/#", qos=1) as stream,
            ):
                await one.publish("t/1", b"123", qos=1)
                await anext(stream)
            await left(broker)
            metering = broker.server.metering
            nobody = metering.others()[0]
            assert (nobody.kind, nobody.received.mqtt) == ("nobody", 18)
            parts = [*metering.clients(), nobody]
            total = metering.totals()
            for name in ("payload", "mqtt", "tcp_ip", "estimated", "segments", "transfers"):
                for way in ("received", "sent"):
                    told = sum(getattr(getattr(part, way), name) for part in parts)
                    assert told == getattr(getattr(total, way), name), (way, name)
            assert total.received.mqtt == broker.server.broker.statistics.bytes_received
            assert total.sent.mqtt == broker.server.broker.statistics.bytes_sent
            assert [branch.name for branch in metering.branches()] == ["t/1"]
            assert metering.branches("nothing like it") == []
            assert [client.name for client in metering.clients("b", limit=1)] == ["b"]

    run(work())


# -- when


class Calendar:
    """A wall clock that the test sets."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.now = datetime(2026, 11, 29, 12, tzinfo=UTC)
        broker.server.metering.wall_clock = self._seconds
        self.tick()

    def _seconds(self) -> float:
        return self.now.timestamp()

    def tick(self, seconds: float = 0.0) -> None:
        self._broker.server.metering.tick(self._broker.server.clock() + seconds)

    def turn(self, day: int, month: int = 11) -> None:
        self.now = datetime(2026, month, day, tzinfo=UTC)
        self.tick()


@pytest.mark.parametrize("keeps", [False, True])
def test_days_and_months_begin_with_nothing_and_are_remembered(keeps: bool, tmp_path: Path) -> None:
    async def work() -> None:
        async with Broker({"data": str(tmp_path)} if keeps else None, port=0) as broker:
            calendar = Calendar(broker)
            line = await Line().connect(broker, "sensor")
            for day, month in ((29, 11), (30, 11), (1, 12)):
                calendar.turn(day, month)
                assert of(broker, "sensor", "day").received.payload == 0
                await line.ask(Publish(b"a", b"1234567890", 1, packet_identifier=1).encode(4))
                assert of(broker, "sensor", "day").received.payload == 10
                assert of(broker, "sensor").received.payload == (20 if day == 30 else 10)
            await line.end(broker)
            calendar.turn(2, 12)
            broker.server.metering.save()
            if broker.server.store is not None:
                await committed(broker)
            told = await asyncio.to_thread(broker.server.metering.history, "client", "sensor")
            found = {row.period: row.received.payload for row in told if row.received.payload}
            assert found["2026-11-29"] == found["2026-11-30"] == found["2026-12-01"] == 10
            assert found["2026-11"] == 20

    run(work())


async def committed(broker: Broker) -> None:
    """Until the store has everything that it was told."""
    store = broker.server.store
    assert store is not None
    while store.barrier():
        await asyncio.sleep(0.001)


def test_figures_go_on_after_a_restart_and_old_ones_go(tmp_path: Path) -> None:
    config = {"data": str(tmp_path), "meter": {"days": 1, "months": 1}}

    async def work() -> None:
        for life in (1, 2, 3):
            async with Broker(config, port=0) as broker:
                async with Client(broker.url, client_id="sensor") as client:
                    await client.publish("plant/1/speed", b"x" * 50, qos=1)
                await left(broker)
                told = of(broker, "sensor")
                assert told.received.payload == 50 * life
                assert told.received.packets["CONNECT"].count == life
                assert broker.server.metering.branches()[0].received.payload == 50 * life
                assert broker.server.metering.totals().total == told.total
                before = told.total
        async with Broker(config, port=0) as broker:
            assert of(broker, "sensor").total == before
            today = datetime.now(UTC)
            broker.server.metering.wall_clock = lambda: today.timestamp() + 70 * 86_400
            broker.server.metering.tick(broker.server.clock())
            await committed(broker)
            assert await asyncio.to_thread(broker.server.metering.history, "client", "sensor") == []

    run(work())


def test_a_broker_that_is_killed_has_kept_what_it_had_saved(tmp_path: Path) -> None:
    async def work() -> None:
        async with Broker({"data": str(tmp_path / "first")}, port=0) as broker:
            line = await Line().connect(broker, "sensor")
            await line.ask(Publish(b"a", b"1234567890", 1, packet_identifier=1).encode(4))
            broker.server.metering.tick(broker.server.clock() + SAVE_S)
            await committed(broker)
            copy = tmp_path / "second"
            copy.mkdir()
            for file in (tmp_path / "first").glob("broker.db*"):
                (copy / file.name).write_bytes(file.read_bytes())
            await line.end(broker)
        async with Broker({"data": str(copy)}, port=0) as broker:
            assert of(broker, "sensor").received.payload == 10

    run(work())


def test_all_sockets_are_asked_in_one_round() -> None:
    async def work() -> None:
        async with Broker(port=0) as broker:
            lines = [await Line().connect(broker, f"client {number}") for number in range(90)]
            now = broker.server.clock()
            for quarter in range(int(ROUND_S * 8)):
                broker.server.metering.tick(now + quarter / 4)
            clients = broker.server.broker.meter.clients
            assert all(account.month[meter.RECEIVED + meter.MQTT] for account in clients.values())
            if sys.platform == "linux":
                assert broker.server.broker.meter.total.month[meter.SEGMENTS] > 2 * len(lines)
            for line in lines:
                line.socket.close()

    run(work())


# -- budgets


def budget(**fields: Any) -> dict[str, Any]:
    whole = {"name": "sim cards", "clients": "sensor-*", "limit_bytes": 1000, "counts": "payload"} | fields
    return {"meter": {"budget": [whole]}}


async def publish(line: Line, size: int, version: int = 4) -> bytes:
    return await line.ask(Publish(b"a", b"x" * size, 1, packet_identifier=1).encode(version))


def check(broker: Broker) -> None:
    broker.server.metering.check(broker.server.clock())


def test_a_budget_warns_once_before_and_once_at_its_limit(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        async with Broker(budget(), port=0) as broker:
            line, other = await Line().connect(broker, "sensor-1"), await Line().connect(broker, "phone")
            for size in (700, 200, 10, 200, 500):
                await publish(line, size)
                await publish(other, 2 * size)
                check(broker)
            for each in (line, other):
                each.socket.close()

    with caplog.at_level(logging.WARNING, "tidewire"):
        run(work())
    assert [record.message for record in caplog.records if "budget" in record.message] == [
        'budget is nearly used up budget="sim cards" client=sensor-1 bytes=900 limit=1000 period=month',
        'budget is used up budget="sim cards" client=sensor-1 bytes=1110 limit=1000 period=month',
    ]


def test_a_budget_refuses_from_its_limit_to_the_end_of_the_month_and_the_ledger_says_so() -> None:
    async def work() -> None:
        async with Broker(budget(action="refuse", users=None), port=0) as broker:
            calendar = Calendar(broker)
            line = await Line().connect(broker, "sensor-1", 5)
            assert (await publish_5(line, 1000)) == ReasonCode.NO_MATCHING_SUBSCRIBERS
            check(broker)
            assert (await publish_5(line, 1)) == ReasonCode.QUOTA_EXCEEDED
            session = broker.server.broker.sessions["sensor-1"]
            assert session.ledger is not None and session.ledger.counts[8] == 1
            older = await Line().connect(broker, "sensor-2", 4)
            await publish(older, 1001)
            check(broker)
            assert await older.read() == b""
            again = Line()
            await asyncio.get_running_loop().sock_connect(again.socket, ("127.0.0.1", broker.port))
            assert await again.ask(Connect("sensor-2", 4).encode(4)) == b"\x20\x02\x00\x03"
            calendar.turn(30)
            assert (await publish_5(line, 1)) == ReasonCode.QUOTA_EXCEEDED
            calendar.turn(1, 12)
            assert (await publish_5(line, 1)) == ReasonCode.NO_MATCHING_SUBSCRIBERS
            await Line().connect(broker, "sensor-2", 4)
            for each in (line, older, again):
                each.socket.close()

    run(work())


async def publish_5(line: Line, size: int) -> int:
    """The reason code of its PUBACK."""
    packet = Publish(b"a", b"x" * size, 1, packet_identifier=1).encode(5)
    answer = await line.ask(packet)
    return answer[4] if len(answer) > 4 else 0


def test_a_budget_throttles_and_lasts_over_a_reconnect_and_a_restart(tmp_path: Path) -> None:
    config = {"data": str(tmp_path)} | budget(action="throttle", messages_per_s=1)

    async def work() -> None:
        async with Broker(config, port=0) as broker:
            line = await Line().connect(broker, "sensor-1", 5)
            await publish_5(line, 1000)
            check(broker)
            for _ in range(3):
                last = await publish_5(line, 1)
            assert last == ReasonCode.QUOTA_EXCEEDED
            line.socket.close()
            again = await Line().connect(broker, "sensor-1", 5)
            assert broker.server.broker.sessions["sensor-1"].connection.allowance is not None  # type: ignore[union-attr]
            again.socket.close()
        async with Broker(config, port=0) as broker:
            third = await Line().connect(broker, "sensor-1", 5)
            assert broker.server.broker.sessions["sensor-1"].connection.allowance is not None  # type: ignore[union-attr]
            third.socket.close()

    run(work())


def test_a_budget_of_several_counts_them_together_and_the_total_on_the_wire() -> None:
    async def work() -> None:
        config = budget(action="refuse", together=True, counts="total", limit_bytes=5000, period="day")
        async with Broker(config, port=0) as broker:
            calendar = Calendar(broker)
            lines = [await Line().connect(broker, f"sensor-{number}", 5) for number in (1, 2)]
            for line in lines:
                await publish_5(line, 2000)
            check(broker)
            assert [await publish_5(line, 1) for line in lines] == [ReasonCode.QUOTA_EXCEEDED] * 2
            late = await Line().connect(broker, "sensor-3", 5)
            assert await publish_5(late, 1) == ReasonCode.QUOTA_EXCEEDED
            calendar.turn(30)
            assert [await publish_5(line, 1) for line in (*lines, late)] == [ReasonCode.NO_MATCHING_SUBSCRIBERS] * 3
            for line in (*lines, late):
                line.socket.close()

    run(work())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[meter]\nday = 3\n", "line 2: meter.day: there is no such key; did you mean days?"),
        ("[[meter.budget]]\nlimit_bytes = 1\n", "line 1: meter.budget.1: name is missing"),
        (
            '[[meter.budget]]\nname = "a"\nlimit_bytes = 1\naction = "throttle"\n',
            "line 4: meter.budget.1.action: throttled to what? add messages_per_s = 1 or bytes_per_s = 100",
        ),
        (
            '[[meter.budget]]\nname = "a"\nlimit_bytes = 1\nbytes_per_s = 9\n',
            'line 4: meter.budget.1.bytes_per_s: is for action = "throttle", and this is "warn"',
        ),
        (
            '[[meter.budget]]\nname = "a"\nlimit_bytes = 1\n[[meter.budget]]\nname = "a"\nlimit_bytes = 1\n',
            "line 5: meter.budget.2.name: there is another budget called 'a'",
        ),
    ],
)
def test_what_is_wrong_with_it_is_said_in_one_line(text: str, fault: str, tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        read_config(file)
    assert str(raised.value) == f"{file}, {fault}"


# -- helpers


def listening(way: str, certificates: CertificateDirectory, place: Path) -> dict[str, Any]:
    """One listener."""
    if way == "unix":
        return {"bind": [], "unix_socket": str(place / "socket")}
    one: dict[str, Any] = {"bind": ["127.0.0.1"], "port": 0}
    if way.startswith("ws"):
        one["protocol"] = "websocket"
    if way in ("mqtts", "wss"):
        one["tls"] = {"certificate": str(certificates.file("server")), "key": str(certificates.key_file("server"))}
    return {"bind": [], "listener": [one]}


@contextlib.asynccontextmanager
async def meeting(url: str, way: str, version: str, certificates: CertificateDirectory) -> AsyncIterator[Client]:
    tls: ssl.SSLContext | None = client_context(certificates) if way in ("mqtts", "wss") else None
    url = url.replace("127.0.0.1", "localhost")  # as the certificate says
    async with Client(url, client_id="walker", version=version, tls=tls) as client:  # type: ignore[arg-type]
        yield client


class Relay:
    """Between one client and the broker, counting the bytes of the stream."""

    def __init__(self, broker: Broker) -> None:
        self.sent = self.received = 0
        self._url = broker.urls[0]
        self._port = broker.port

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Where the client is to go."""
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            if self._url.startswith("unix://"):
                yield f"mqtt://127.0.0.1:{port}"
            else:
                yield self._url.replace(str(self._port), str(port))
        finally:
            server.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._url.startswith("unix://"):
            theirs, ours = await asyncio.open_unix_connection(self._url.removeprefix("unix://"))
        else:
            theirs, ours = await asyncio.open_connection("127.0.0.1", self._port)

        def count_sent(size: int) -> None:
            self.sent += size

        def count_received(size: int) -> None:
            self.received += size

        await asyncio.gather(self._pass(reader, ours, count_sent), self._pass(theirs, writer, count_received))

    @staticmethod
    async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Callable[[int], None]) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                count(len(data))
                writer.write(data)
                await writer.drain()
        writer.close()
