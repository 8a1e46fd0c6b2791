"""Do listeners let in whom they should, count them, and serve on while others dawdle at the door?"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.process import PATIENCE_S, BrokerProcess, tidewire
from tests.server.frames import FrameClient
from tests.server.handshake import client_context
from tidewire.server import endpoint
from tidewire.server.certificate_directory import CertificateDirectory
from tidewire.server.config import ConfigError
from tidewire.testing import BrokerThread
from tidewire.wire.framing import Decoder
from tidewire.wire.packets import Connack, Connect

SLOW = 1000


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> CertificateDirectory:
    place = CertificateDirectory(tmp_path_factory.mktemp("endpoint") / "certs")
    place.make(["localhost"], (), 2, "ec", datetime.now(UTC))
    return place


def tls(place: CertificateDirectory) -> dict[str, Any]:
    return {"tls": {"certificate": str(place.file("server")), "key": str(place.key_file("server"))}}


@contextlib.contextmanager
def serving(**listener: Any) -> Iterator[BrokerThread]:
    with BrokerThread({"bind": [], "listener": [{"bind": ["127.0.0.1"], "port": 0} | listener]}) as broker:
        yield broker


def dial(broker: BrokerThread) -> socket.socket:
    return socket.create_connection(("127.0.0.1", broker.port), PATIENCE_S)


def connect(client: socket.socket, name: str) -> bool:
    """Whether CONNECT is accepted."""
    try:
        client.sendall(Connect(name).encode(4))
        data = client.recv(100)
    except ConnectionError:
        return False
    return bool(data) and Decoder(4, 100).feed(data) == [Connack()]


def connect_tls(broker: BrokerThread, place: CertificateDirectory, name: str) -> bool:
    with client_context(place).wrap_socket(dial(broker), server_hostname="localhost") as client:
        return connect(client, name)


def test_a_thousand_slow_handshakes_hold_up_nobody(certificates: CertificateDirectory) -> None:
    with serving(**tls(certificates)) as broker, contextlib.ExitStack() as stack:
        for number in range(SLOW):
            slow = stack.enter_context(dial(broker))
            slow.sendall(b"\x16\x03\x01\x02"[: number % 5])  # some say nothing, others begin
        assert connect_tls(broker, certificates, "honest")


def test_when_there_is_no_place_left_the_slowest_are_cut(
    certificates: CertificateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "ARRIVING", 10)
    monkeypatch.setattr(endpoint, "ARRIVAL_WHILE_OTHERS_WAIT_S", 0.01)
    with serving(**tls(certificates)) as broker, contextlib.ExitStack() as stack:
        slow = [stack.enter_context(dial(broker)) for _ in range(30)]
        assert connect_tls(broker, certificates, "honest")
        assert slow[0].recv(1) == b""


def test_a_handshake_that_takes_too_long_is_cut(
    certificates: CertificateDirectory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(endpoint, "ARRIVAL_S", 0.05)
    with serving(**tls(certificates)) as broker, dial(broker) as slow:
        assert slow.recv(1) == b""
        broker._call(lambda: None)
    assert 'detail="no PROXY header and TLS handshake in 0.05 s"' in caplog.text


@pytest.mark.parametrize("nonsense", [Connect("plain").encode(4), b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100])
def test_what_is_not_tls_is_closed_and_logged_in_one_line(
    certificates: CertificateDirectory, nonsense: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(**tls(certificates)) as broker:
        with dial(broker) as client, contextlib.suppress(ConnectionError):
            client.sendall(nonsense)
            while client.recv(100):
                pass
        assert connect_tls(broker, certificates, "after")
    assert caplog.text.count('detail="TLS: ') == 1
    assert caplog.text.count("; is this a client without TLS?") == 1
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("kind", ["plain", "tls", "proxy"])
def test_connections_of_a_listener_are_limited_until_one_leaves(certificates: CertificateDirectory, kind: str) -> None:
    more: dict[str, Any] = {"plain": {}, "tls": tls(certificates), "proxy": {"proxy_protocol": True}}[kind]

    def client(name: str) -> tuple[socket.socket, bool]:
        connection = stack.enter_context(dial(broker))
        if kind == "proxy":
            connection.sendall(b"PROXY UNKNOWN\r\n")
        if kind == "tls":
            try:
                connection = client_context(certificates).wrap_socket(connection, server_hostname="localhost")
            except (ssl.SSLError, ConnectionError):
                return connection, False
            stack.enter_context(connection)
        return connection, connect(connection, name)

    with serving(connections=2, **more) as broker, contextlib.ExitStack() as stack:
        first, accepted = client("first")
        assert accepted
        assert client("second")[1]
        assert not client("third")[1]
        first.close()
        broker.wait_until(lambda: "first" not in broker.clients)
        assert client("fourth")[1]


def test_connections_of_an_address_are_limited_and_others_come_in() -> None:
    listener = {"bind": ["127.0.0.1"], "port": 0, "connections_per_address": 1}
    with BrokerThread({"bind": [], "listener": [listener]}) as broker, dial(broker) as first:
        assert connect(first, "first")
        with dial(broker) as second:
            assert not connect(second, "second")
        other = socket.create_connection(("127.0.0.1", broker.port), PATIENCE_S, source_address=("127.0.0.2", 0))
        with other:
            assert connect(other, "other")


def test_who_leaves_in_the_handshake_gives_the_place_back(certificates: CertificateDirectory) -> None:
    with serving(connections=1, **tls(certificates)) as broker:
        for _ in range(3):
            dial(broker).close()
        counted = broker._broker.server.broker.statistics
        while broker._call(lambda: counted.connections_refused) < 3:  # each call lets the loop run on
            pass
        assert connect_tls(broker, certificates, "after")


def test_refusals_are_counted_in_sys() -> None:
    config = {"bind": [], "listener": [{"bind": ["127.0.0.1"], "port": 0, "connections": 1}]}
    with BrokerThread(config) as broker, dial(broker) as first:
        assert connect(first, "first")
        for _ in range(3):
            with dial(broker) as refused:
                assert not connect(refused, "refused")
        assert broker._call(lambda: broker._broker.server.broker.statistics.connections_refused) == 3


def test_every_listener_has_its_url(certificates: CertificateDirectory, tmp_path: Path) -> None:
    base = {"bind": ["127.0.0.1"], "port": 0}
    listeners = [
        base | tls(certificates),
        base | {"protocol": "websocket", "path": "/"},
        base | {"protocol": "websocket"} | tls(certificates),
        {"unix_socket": str(tmp_path / "ws"), "protocol": "websocket"},
        {"unix_socket": str(tmp_path / "tls"), **tls(certificates)},
    ]
    with BrokerThread({"bind": ["127.0.0.1"], "listener": listeners}) as broker:
        schemes = [url.partition("127.0.0.1:")[0] for url in broker.urls[:4]]
        assert schemes == ["mqtt://", "mqtts://", "ws://", "wss://"]
        assert broker.urls[2].endswith("/") and broker.urls[3].endswith("/mqtt")
        assert broker.urls[4:] == [f"unix://{tmp_path}/ws", f"unix://{tmp_path}/tls"]
        assert len({url.rpartition(":")[2] for url in broker.urls[:4]}) == 4
    assert not list(tmp_path.iterdir())  # the sockets are gone with it


def test_a_listener_needs_a_port_or_a_path() -> None:
    with pytest.raises(ConfigError, match=r"listener nameless has neither a port nor a unix_socket; add port = 8883"):
        BrokerThread({"bind": [], "listener": [{"name": "nameless"}]})


def test_a_port_that_is_taken_is_told_with_the_mend() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port} of 127.0.0.1 is taken; .* port = {port + 1} in its \[\["):
            BrokerThread({"bind": [], "listener": [{"bind": ["127.0.0.1"], "port": port}]})


def test_strangers_on_other_machines_are_kept_out_of_every_listener() -> None:
    with pytest.raises(ConfigError, match=r"refusing to listen on 0\.0\.0\.0|anybody could connect"):
        BrokerThread({"listener": [{"bind": ["0.0.0.0"], "port": 0}]})


def test_those_who_wait_at_the_gate_come_in_by_websocket_too() -> None:
    listener = {"bind": ["127.0.0.1"], "port": 0, "protocol": "websocket"}
    config = {"bind": [], "accept_rate": 50, "listener": [listener]}
    with BrokerThread(config) as broker, contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(FrameClient(broker.url)) for _ in range(60)]
        for number, client in enumerate(crowd):
            client.connect(f"crowd-{number}")
        assert len(broker.clients) == 60


def test_a_broker_that_stops_cuts_those_in_their_handshakes(certificates: CertificateDirectory) -> None:
    with contextlib.ExitStack() as stack:
        with serving(**tls(certificates)) as broker:
            slow = [stack.enter_context(dial(broker)) for _ in range(10)]
            the_listener = broker._broker.server.endpoints[1]
            while broker._call(lambda: the_listener.connections) < len(slow):
                pass
        assert [client.recv(1) for client in slow] == [b""] * len(slow)
        assert not the_listener._tasks and not the_listener.connections


def test_a_certificate_without_its_key_is_told_so(certificates: CertificateDirectory) -> None:
    done = tidewire("serve", "--tls-certificate", certificates.file("server"))
    assert (done.returncode, done.stderr) == (
        2,
        "tidewire: a certificate and its key belong together; add --tls-key FILE.pem\n",
    )


def test_serve_opens_tls_and_websocket_by_its_options(certificates: CertificateDirectory) -> None:
    files = ("--tls-certificate", certificates.file("server"), "--tls-key", certificates.key_file("server"))
    with BrokerProcess("--bind", "127.0.0.1", "--port", "0", "--websocket-port", "0", *files) as process:
        assert [address.partition("127")[0] for address in process.addresses] == ["mqtts://", "wss://"]
    with BrokerProcess("--bind", "127.0.0.1", "--port", "0", "--websocket-port", "0") as process:
        with FrameClient(process.addresses[1]) as client:
            client.connect("by-option")
        process.connect("plain")
