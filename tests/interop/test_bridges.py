"""Do bridges work with Mosquitto, in both versions, over TLS, and through restarts of either broker?"""

from __future__ import annotations

import asyncio
import getpass
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client.certificates import Certificates, make_certificates
from tests.client.helpers import run, take, take_until, until
from tests.process import PATIENCE_S, BrokerProcess
from tests.server.test_bridge import bridged, connected, disconnected, state
from tidewire import Client
from tidewire.server.embedded import Broker

VERSIONS = ["5.0", "3.1.1"]
BOTH = {"filter": "a/#", "direction": "both", "qos": 2, "local_prefix": "here/", "remote_prefix": "there/"}
END = b"end"

PROGRAM = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed; on Debian: apt install mosquitto")


class Mosquitto:
    """Debian's broker, which keeps what it has over a restart."""

    def __init__(self, directory: Path, certificates: Certificates) -> None:
        self._directory = directory
        self._certificates = certificates
        self.ports = [0, 0]
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.ports[0]}"

    @property
    def tls_url(self) -> str:
        return f"mqtts://localhost:{self.ports[1]}"

    def start(self) -> None:
        """Run it until it says that it does, on the ports of the last time if there was one."""
        if not self.ports[0]:
            self.ports = _free_ports()
        configuration = self._directory / "mosquitto.conf"
        configuration.write_text(
            f"""
per_listener_settings true
user {getpass.getuser()}
max_queued_messages 0
persistence true
persistence_location {self._directory}/
listener {self.ports[0]} 127.0.0.1
allow_anonymous true
listener {self.ports[1]} 127.0.0.1
allow_anonymous true
certfile {self._certificates.chain}
keyfile {self._certificates.key}
""",
            encoding="utf-8",
        )
        assert PROGRAM is not None
        self._process = subprocess.Popen([PROGRAM, "-c", configuration], stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        said = []
        for line in self._process.stderr:
            said.append(line)
            if "running" in line:
                return
        raise AssertionError(f"mosquitto does not start:\n{''.join(said)}")

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE_S)


def _free_ports() -> list[int]:
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return [one.getsockname()[1], other.getsockname()[1]]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def hub(tmp_path: Path, certificates: Certificates) -> Iterator[Mosquitto]:
    directory = tmp_path / "mosquitto"
    directory.mkdir()
    broker = Mosquitto(directory, certificates)
    broker.start()
    yield broker
    broker.stop()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("direction", ["out", "in", "both"])
def test_messages_of_every_quality_cross_once_and_none_comes_back(hub: Mosquitto, version: str, direction: str) -> None:
    async def test() -> None:
        topic = BOTH | {"direction": direction}
        async with (
            Broker(bridged(hub.url, topic, version=version)) as site,
            Client(site.url) as here,
            here.subscribe("here/#", qos=2) as near,
            Client(hub.url) as there,
            there.subscribe("there/#", qos=2) as far,
        ):
            await connected(site)
            ways = [(here, "here/", near, far, "there/"), (there, "there/", far, near, "here/")]
            for client, before, own, other, after in ways[:1] if direction == "out" else ways[direction == "in" :]:
                for qos in (0, 1, 2):
                    await client.publish(f"{before}a/{qos}", str(qos), qos=qos)
                await client.publish(f"{before}a/z", END, qos=2)
                for stream, prefix in ((own, before), (other, after)):
                    found = [(each.topic, each.qos) for each in await take_until(stream, END)]
                    assert sorted(found) == [(f"{prefix}a/{qos}", qos) for qos in (0, 1, 2)]
            if direction == "both":  # behind all that might have come back
                for client, before, own, other, _ in ways:
                    await client.publish(f"{before}a/z", END, qos=2)
                    assert [await take_until(stream, END) for stream in (own, other)] == [[], []]

    run(test())


@pytest.mark.parametrize("version", VERSIONS)
def test_retained_messages_are_retained_on_the_other_side(hub: Mosquitto, version: str) -> None:
    async def test() -> None:
        async with Client(hub.url) as there, Broker(bridged(hub.url, BOTH, version=version)) as site:
            await connected(site)
            async with Client(site.url) as here, here.subscribe("here/a/in", retain_as_published=True) as near:
                await there.publish("there/a/in", b"x", qos=1, retain=True)
                assert (await near.get()).retain
                async with there.subscribe("there/a/out", retain_as_published=True) as far:
                    await here.publish("here/a/out", b"y", qos=1, retain=True)
                    assert (await far.get()).retain
            async with Client(site.url) as here, here.subscribe("here/a/in") as near:
                assert (await near.get()).retain
            async with Client(hub.url) as late, late.subscribe("there/a/out") as far:
                assert (await far.get()).payload == b"y"

    run(test())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("qos", [1, 2])
def test_while_mosquitto_is_away_messages_wait_here_and_then_arrive_in_order(
    hub: Mosquitto, version: str, qos: int
) -> None:
    async def test() -> None:
        async with (
            Broker(bridged(hub.url, BOTH, version=version)) as site,
            Client(site.url) as here,
        ):
            await connected(site)
            async with Client(hub.url, client_id="reader", session_expiry=1000, version="3.1.1") as there:
                await there.subscribe("there/a/b", qos=2, keep=True).open()
            await asyncio.to_thread(hub.stop)
            await disconnected(site)
            for number in range(500):
                await here.publish("here/a/b", str(number), qos=qos)
            await asyncio.to_thread(hub.start)
            async with (
                Client(hub.url, client_id="reader", session_expiry=1000, version="3.1.1") as there,
                there.subscribe("there/a/b", qos=2) as far,
            ):
                assert [int(payload) for payload in await take(far, 500)] == list(range(500))
            await until(lambda: site.server.broker.sessions["$bridge/hub"].waiting_messages() == 0)

    run(test())


@pytest.mark.parametrize("version", VERSIONS)
def test_mosquitto_keeps_what_comes_in_while_the_bridge_is_away(hub: Mosquitto, version: str) -> None:
    async def test() -> None:
        config = bridged(hub.url, BOTH, version=version)
        async with Broker(config) as site:
            await connected(site)
        async with Client(hub.url) as there:
            for number in range(100):
                await there.publish("there/a/b", str(number), qos=1)
        async with Broker(config) as site, Client(site.url) as here, here.subscribe("here/#", qos=2) as near:
            assert [int(payload) for payload in await take(near, 100)] == list(range(100))

    run(test())


def test_over_tls_the_other_broker_has_to_show_who_it_is(hub: Mosquitto, certificates: Certificates) -> None:
    async def test() -> None:
        tls = {"ca": str(certificates.authority)}
        async with (
            Broker(bridged(hub.tls_url, BOTH, tls=tls)) as site,
            Client(site.url) as here,
            Client(hub.url) as there,
            there.subscribe("there/#", qos=1) as far,
        ):
            await connected(site)
            await here.publish("here/a/b", b"x", qos=1)
            assert await take(far, 1) == [b"x"]
        async with Broker(bridged(hub.tls_url, BOTH)) as site:
            await until(
                lambda: b"name the authority that has signed it: ca in its [bridge.tls]" in state(site, "error")
            )
            assert state(site) == b"0"

    run(test())


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("away", [True, False], ids=["while the other is away", "while messages cross"])
def test_what_was_accepted_here_arrives_there_though_the_broker_is_killed(
    hub: Mosquitto, tmp_path: Path, qos: int, away: bool
) -> None:
    numbers = [str(number).encode() for number in range(300)]
    config = tmp_path / "broker.toml"
    config.write_text(_toml(hub.url), encoding="utf-8")
    command: list[Any] = ["--config", config, "--data", tmp_path / "data"]

    def reader() -> Client:
        return Client(hub.url, client_id="reader", session_expiry=1000, version="3.1.1")

    async def test() -> None:
        async with reader() as there:
            await there.subscribe("there/a/b", qos=2, keep=True).open()
        with BrokerProcess(*command) as site:
            await asyncio.to_thread(site.wait_for, "bridge connected")
            if away:
                await asyncio.to_thread(hub.stop)
                await asyncio.to_thread(site.wait_for, "bridge away")
            async with Client(f"mqtt://127.0.0.1:{site.port}") as here:
                await asyncio.gather(*(here.publish_nowait("here/a/b", number, qos=qos) for number in numbers[:200]))
            site.kill()
        if away:
            await asyncio.to_thread(hub.start)
        with BrokerProcess(*command) as site:
            async with Client(f"mqtt://127.0.0.1:{site.port}") as here:
                await asyncio.gather(
                    *(here.publish_nowait("here/a/b", number, qos=qos) for number in [*numbers[200:], END])
                )
            async with reader() as there, there.subscribe("there/a/b", qos=2) as far:
                found = [message.payload for message in await take_until(far, END)]
            assert "internal error" not in site.log
        if not away:  # what was on its way may have come twice
            found = list(dict.fromkeys(found))
        assert found == numbers

    run(test())


def _toml(url: str) -> str:
    return f"""
bind = ["127.0.0.1"]
port = 0

[[bridge]]
name = "hub"
url = "{url}"
retry_maximum_s = 0.02
topics = [{{ filter = "a/#", direction = "both", qos = 2, local_prefix = "here/", remote_prefix = "there/" }}]
"""
