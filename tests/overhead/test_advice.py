"""Does following an advice save what it says? By arithmetic on exchanges, and by a client that follows it."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest

from tests.overhead.conftest import Exchanged
from tests.overhead.meters import lived, row
from tests.process import BareClient
from tidewire import Client
from tidewire.overhead.advice import LEAST_SHARE, Advice, ClientAdvice, advise
from tidewire.overhead.advice_report import text
from tidewire.overhead.broker import MeasuredBroker
from tidewire.overhead.costs import Direction, Exchange, Form, TransportName, VersionName
from tidewire.overhead.errors import MeasurementError
from tidewire.overhead.kernel import TcpInfo, wait_until_quiet
from tidewire.overhead.mqtt import Message, measure
from tidewire.overhead.schedule import MONTH_S
from tidewire.server.certificate_directory import CertificateDirectory
from tidewire.server.embedded import Broker
from tidewire.server.hooks import PublishRequest
from tidewire.store.meter_rows import Metered
from tidewire.wire.codes import PUBACK
from tidewire.wire.packets import Acknowledgement, Disconnect, Pingreq, Publish

MINUTE_S = 60.0


@pytest.fixture
def tcp(exchange: Exchanged) -> list[Exchange]:
    return [exchange("tcp", "3.1.1"), exchange("tcp"), exchange("tcp", alias=True)]


def told(
    row: Metered, exchanges: Sequence[Exchange], observed_s: float = MONTH_S, price: float | None = None
) -> ClientAdvice:
    return advise(row, observed_s, Message(), exchanges, price)


def named(found: ClientAdvice, change: str) -> Advice:
    return next(advice for advice in found.advice if change in advice.change)


def total(exchange: Exchange, name: Any, qos: int | None = None) -> int:
    return exchange.stage(name, qos).traffic.total


# -- laws


def test_a_client_that_lived_like_an_exchange_is_explained_by_it_to_the_byte(tcp: list[Exchange]) -> None:
    for exchange in tcp[:2]:
        client = lived(
            exchange, (3, "connect"), (3, "disconnect"), (50, ("publish", 1)), (7, ("deliver", 2)), (9, "keep-alive")
        )
        found = told(client, tcp)
        assert (found.explained, found.shared) == (1.0, {})


def test_another_qos_saves_the_difference_of_the_exchanges(tcp: list[Exchange]) -> None:
    plain = tcp[1]
    found = told(lived(plain, (1, "connect"), (1, "disconnect"), (100, ("publish", 2)), (60, ("deliver", 1))), tcp)
    for change, count, way, qos, less in (
        ("publish at QoS 0 in place of 2", 100, "publish", 2, 0),
        ("publish at QoS 1 in place of 2", 100, "publish", 2, 1),
        ("subscribe at QoS 0 in place of 1", 60, "deliver", 1, 0),
    ):
        advice = named(found, change)
        assert advice.metered.bytes == count * (total(plain, way, qos) - total(plain, way, less))
        assert advice.metered.wake_ups == 0
    assert not [advice for advice in found.advice if "publish at QoS 0 in place of 1" in advice.change]


@pytest.mark.parametrize(("pings", "left"), [(1, 0), (2, 1), (101, 50)])
def test_twice_the_keep_alive_leaves_half_of_the_pings_or_one_fewer(tcp: list[Exchange], pings: int, left: int) -> None:
    client = lived(tcp[1], (1, "connect"), (1, "disconnect"), (pings, "keep-alive"))
    advice = named(told(client, tcp, pings * MINUTE_S), "double the keep-alive")
    assert advice.metered.bytes == (pings - left) * total(tcp[1], "keep-alive")
    assert (advice.metered.packets, advice.metered.wake_ups) == (2 * (pings - left), pings - left)
    assert "1 min" in advice.change or "60 s" in advice.change


def test_an_alias_saves_the_topic_of_all_messages_but_the_first_of_each_connection(tcp: list[Exchange]) -> None:
    v311, v5, alias = tcp
    for before, upgrade in ((v311, "MQTT 5.0 and a topic alias"), (v5, "a topic alias")):
        client = lived(before, (2, "connect"), (2, "disconnect"), (100, ("publish", 1)))
        advice = named(told(client, tcp), upgrade)
        now, then = total(before, "publish", 1), total(alias, "publish", 1)
        longer = alias.stage("connect").traffic.both.protocol - before.stage("connect").traffic.both.protocol
        assert advice.metered.bytes == 100 * (now - then) - 2 * (len(Message().topic) + longer)
    long = row("5.0", {1: 100}, topic=121, connects=0, tcp_ip=10**5)
    # its length takes two bytes, it is not known to be of 5.0, which has one more, and the alias takes three
    assert named(told(long, tcp), "topic alias").less == Direction(protocol=99 * (121 + 1 + 1) - 100 * 4)


def test_batches_save_all_but_the_payloads_and_as_many_wake_ups(tcp: list[Exchange]) -> None:
    client = lived(tcp[1], (1, "connect"), (1, "disconnect"), (95, ("publish", 0)))
    advice = named(told(client, tcp, 95 * MINUTE_S), "publish 10 payloads in one message")
    each = total(tcp[1], "publish", 0) - 20
    longer = 9  # batches of more than 127 bytes, whose length takes two
    assert (advice.metered.bytes, advice.metered.packets) == ((95 - 10) * each - longer, 85)
    assert advice.metered.wake_ups == 85
    assert advice.less.payload == 0


def test_as_many_payloads_are_put_in_one_message_as_a_segment_takes(tcp: list[Exchange]) -> None:
    changes = [advice.change for advice in told(row("5.0", {0: 50}, payload=400, tcp_ip=10**5), tcp).advice]
    assert "publish 3 payloads in one message" in changes
    assert not named_any(told(row("5.0", {0: 50}, payload=1000, tcp_ip=10**5), tcp), "payloads in one")


def test_to_stay_connected_saves_handshakes_and_costs_pings(tcp: list[Exchange]) -> None:
    plain = tcp[1]
    client = lived(plain, (100, "connect"), (100, "disconnect"), (100, ("publish", 0)))
    advice = named(told(client, tcp, 100 * 90.0), "stay connected")
    connection, ping = total(plain, "connect") + total(plain, "disconnect"), total(plain, "keep-alive")
    assert advice.metered.bytes == 99 * connection - 100 * ping
    assert advice.metered.wake_ups == -100
    hourly = told(client, tcp, 100 * 3600.0)  # 60 pings cost more than a connection
    assert not named_any(hourly, "stay connected")


def test_of_a_layer_that_packets_shared_no_more_is_saved_than_there_was(tcp: list[Exchange]) -> None:
    client = lived(tcp[1], (1, "connect"), (1, "disconnect"), (1000, ("publish", 1)))
    for flow in (client.received, client.sent):
        flow.tcp_ip //= 10
    found = told(client, tcp)
    assert found.shared == {"tcp_ip": pytest.approx(0.1, rel=1e-3)}
    assert named(found, "publish at QoS 0").less == Direction(protocol=6000, packets=1000, segments=1000)
    assert all(advice.metered.bytes <= client.total for advice in found.advice)


def test_a_month_is_the_time_that_was_metered_gone_on(tcp: list[Exchange]) -> None:
    client = lived(tcp[1], (1, "connect"), (1, "disconnect"), (1000, ("publish", 1)))
    advice = named(told(client, tcp, MONTH_S / 3, price=2.0), "publish at QoS 0")
    assert advice.month.bytes == 3 * advice.metered.bytes
    assert advice.money == pytest.approx(advice.month.bytes / 1e6 * 2.0)


def test_a_client_with_nothing_to_save_is_told_so(tcp: list[Exchange]) -> None:
    found = told(lived(tcp[1], (1, "connect"), (1, "disconnect"), (1, ("publish", 0))), tcp)
    assert [advice for advice in found.advice if advice.share < LEAST_SHARE] == []
    assert not named_any(told(row("5.0", pings=9, tcp_ip=5000), tcp, 3600.0), "between its messages")  # there are none
    quiet = told(row("5.0", connects=1, tcp_ip=500), tcp)
    assert quiet.advice == []
    assert "There is nothing to save" in text(quiet)


def test_the_radio_of_a_client_that_is_never_silent_is_not_reckoned(tcp: list[Exchange]) -> None:
    client = lived(tcp[1], (1, "connect"), (1, "disconnect"), (1000, ("publish", 1)))
    assert {advice.month.wake_ups for advice in told(client, tcp, 5000.0).advice} == {None}


def test_the_arithmetic_is_shown_line_by_line(tcp: list[Exchange]) -> None:
    client = lived(tcp[1], (1, "connect"), (1, "disconnect"), (1000, ("publish", 1)))
    lines = text(told(client, tcp, MONTH_S / 2, price=0.5)).splitlines()
    now, then = total(tcp[1], "publish", 1), total(tcp[1], "publish", 0)
    start = lines.index("  publish at QoS 0 in place of 1")
    assert lines[start + 3].startswith(f"    now   1 000 × {now} B = {now} 000 B  (publish QoS 1: payload 20, MQTT 32")
    assert lines[start + 4].startswith(
        f"    then  1 000 × {then} B = {then} 000 B  (publish QoS 0: payload 20, MQTT 26"
    )
    assert lines[start + 5].endswith(f" = {now - then} 000 B")
    assert lines[start + 6] == f"    month {now - then} 000 B × 30 d / 15.000 d = {2 * (now - then)} 000 B"


def test_an_exchange_that_is_missing_is_named_with_the_command_that_performs_it(exchange: Exchanged) -> None:
    with pytest.raises(MeasurementError, match=r"no exchange of MQTT 5\.0, alias · TCP .* --transport tcp --json"):
        told(row("5.0", {1: 1}), [exchange("tcp")])


def named_any(found: ClientAdvice, change: str) -> bool:
    return any(change in advice.change for advice in found.advice)


# -- a client that follows them

COUNT = 30
"""Messages: so many that the ends of a connection, where segments are chance, are a few per cent of what is saved."""
ATTEMPTS = 3
"""What the kernels choose on a machine that is busy is not what they choose in general."""


class Late:
    """Segments that only a busy machine sends: where an answer takes longer than 40 ms, what it answers is acknowledged
    alone. Of steps that are all alike, each has such segments beyond those of the step with the fewest."""

    def __init__(self) -> None:
        self._steps: dict[str, list[int]] = {}
        self._header_bytes = 0

    def step(self, name: str, after: TcpInfo, before: TcpInfo | None = None) -> TcpInfo:
        counts = [info.segments_in + info.segments_out for info in (after, before) if info is not None]
        self._steps.setdefault(name, []).append(counts[0] - sum(counts[1:]))
        self._header_bytes = after.header_bytes
        return after

    @property
    def bytes(self) -> int:
        return self._header_bytes * sum(sum(steps) - min(steps) * len(steps) for steps in self._steps.values())


class Sensor:
    """A client that publishes one message after the other, each when all is quiet after the last."""

    def __init__(self, broker: Broker, arrived: asyncio.Event, url: str, tls: ssl.SSLContext | None) -> None:
        self.late = Late()
        self._broker = broker
        self._arrived = arrived
        self._arguments: dict[str, Any] = {"tls": tls} if tls is not None else {}
        self._url = url

    async def publish(
        self, name: str, qos: int = 0, version: str = "3.1.1", batch: int = 1, connections: int = 1
    ) -> Metered:
        for _ in range(connections):
            async with self._client(name, version) as client:
                info = self.late.step("connect", await self._quiet())
                for _ in range(COUNT // batch // connections):
                    await client.publish(Message().topic, b"x" * 20 * batch, qos=qos)
                    await self._arrived.wait()
                    self._arrived.clear()
                    info = self.late.step("publish", await self._quiet(), info)
            assert await self._broker.server.gate.empty(10)
        return await self._metered(name)

    async def ping(self, name: str, pings: int) -> Metered:
        await asyncio.to_thread(self._ping, name, pings)
        return await self._metered(name)

    def _ping(self, name: str, pings: int) -> None:
        with self._by_hand(name) as client:
            info = wait_until_quiet(client.socket)
            for _ in range(pings):
                client.send(Pingreq())
                client.receive()
                info = self.late.step("ping", wait_until_quiet(client.socket), info)
            client.send(Disconnect())
            assert client.receive() is None

    async def subscribe(self, name: str, qos: int) -> Metered:
        await asyncio.to_thread(self._subscribe, name, qos)
        return await self._metered(name)

    def _subscribe(self, name: str, qos: int) -> None:
        with self._by_hand(f"to {name}") as sender, self._by_hand(name) as client:
            client.subscribe(Message().topic, qos)
            info = wait_until_quiet(client.socket)
            for number in range(1, 2 * COUNT + 1):
                sender.send(Publish(Message().topic.encode(), b"x" * 20, 1, packet_identifier=number))
                sender.receive()
                packet = client.receive()
                assert isinstance(packet, Publish)
                if packet.qos:
                    client.send(Acknowledgement(PUBACK, packet.packet_identifier))
                info = self.late.step("deliver", wait_until_quiet(client.socket), info)
            for each in (client, sender):
                each.send(Disconnect())
                assert each.receive() is None

    def _by_hand(self, name: str) -> BareClient:
        return BareClient(("127.0.0.1", self._broker.port), 4).connect(name)

    def _client(self, name: str, version: str, **arguments: Any) -> Client:
        return Client(self._url, client_id=name, version=version, **self._arguments, **arguments)

    async def _quiet(self) -> TcpInfo:
        [protocol] = self._broker.server.gate.connections
        while protocol.connection.session.received:
            await asyncio.sleep(0)  # `publish` returns with the PUBREC; PUBREL and PUBCOMP are still to come
        return await asyncio.to_thread(wait_until_quiet, protocol.connection.transport.get_extra_info("socket"))

    async def _metered(self, name: str) -> Metered:
        assert await self._broker.server.gate.empty(10)
        found = self._broker.server.metering.client(name)
        assert found is not None
        return found


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CertificateDirectory]:
    place = CertificateDirectory(tmp_path_factory.mktemp("advice") / "certs")
    place.make(["localhost"], [], days=1, key_type="ec", now=datetime.now(UTC))
    yield place


@pytest.fixture(scope="module")
def steady(broker: MeasuredBroker) -> Exchanged:
    """Exchanges, the cheapest of some: where a machine is busy, an answer may come so late that it is waited for."""

    @cache
    def perform(transport: TransportName, version: VersionName = "5.0", alias: bool = False) -> Exchange:
        form = Form(transport, version, alias)
        return min((measure(broker, form, Message()) for _ in range(ATTEMPTS)), key=segments)

    return perform


def segments(exchange: Exchange) -> int:
    return sum(traffic.both.segments for traffic in exchange.connections.values())


@pytest.mark.skipif(sys.platform != "linux", reason="only the kernel of Linux counts segments")
@pytest.mark.parametrize(
    ("transport", "before", "after", "change"),
    [
        ("tcp", {"qos": 1}, {"qos": 0}, "publish at QoS 0 in place of 1"),
        ("tls", {"qos": 1}, {"qos": 0}, "publish at QoS 0 in place of 1"),
        ("tcp", {"qos": 2}, {"qos": 1}, "publish at QoS 1 in place of 2"),
        ("tcp", {"qos": 0}, {"qos": 0, "version": "5.0"}, "publish with MQTT 5.0 and a topic alias"),
        ("tcp", {"qos": 1}, {"qos": 1, "batch": 10}, "publish 10 payloads in one message"),
        ("tcp", {"qos": 1, "connections": COUNT}, {"qos": 1}, "stay connected"),
        ("tcp", {"pings": COUNT}, {"pings": COUNT // 2}, "double the keep-alive"),
        ("tcp", {"subscribed": 1}, {"subscribed": 0}, "subscribe at QoS 0 in place of 1"),
    ],
)
def test_a_client_that_follows_an_advice_saves_what_was_forecast(
    steady: Exchanged,
    certificates: CertificateDirectory,
    transport: str,
    before: dict[str, Any],
    after: dict[str, Any],
    change: str,
) -> None:
    async def work() -> tuple[Metered, int, int]:
        arrived = asyncio.Event()

        def on_publish(request: PublishRequest) -> None:
            arrived.set()

        listener: dict[str, Any] = {"bind": ["127.0.0.1"], "port": 0}
        tls = None
        if transport == "tls":
            files = {"certificate": certificates.file("server"), "key": certificates.key_file("server")}
            listener["tls"] = {name: str(path) for name, path in files.items()}
            tls = ssl.create_default_context(cafile=str(certificates.file("ca")))
        async with asyncio.timeout(30), Broker({"bind": [], "listener": [listener]}, on_publish=on_publish) as broker:

            async def live(name: str, subscribed: int | None = None, pings: int = 0, **how: Any) -> tuple[Metered, int]:
                sensor = Sensor(broker, arrived, broker.url.replace("127.0.0.1", "localhost"), tls)
                if pings:
                    metered = await sensor.ping(name, pings)
                elif subscribed is not None:
                    metered = await sensor.subscribe(name, subscribed)
                else:
                    metered = await sensor.publish(name, **how)
                return metered, metered.total - sensor.late.bytes

            (first, total), (_, other) = await live("the first", **before), await live("the other", **after)
            return first, total, other

    exchanges = [steady(transport, "3.1.1"), steady(transport), steady(transport, alias=True)]
    for _ in range(ATTEMPTS):
        first, total, other = asyncio.run(work())
        forecast = named(told(first, exchanges, COUNT * MINUTE_S), change).metered.bytes
        saved = total - other
        if forecast == pytest.approx(saved, rel=0.05):
            return
    pytest.fail(f"{forecast} bytes were forecast, and {saved} were saved")
