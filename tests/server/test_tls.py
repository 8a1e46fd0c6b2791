"""Does TLS show the right certificate, ask for the right ones, take new files without a cut, and say what is wrong?"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.process import PATIENCE_S
from tests.server.frames import HEADERS, frame
from tests.server.handshake import client_context
from tests.server.openssl import openssl
from tidewire.server.certificate_directory import CertificateDirectory
from tidewire.server.config import ConfigError
from tidewire.server.listener_config import NamedCertificate, TlsConfig
from tidewire.server.tls import WATCH_S, Tls, make_context, read_certificate, read_pre_shared_keys
from tidewire.testing import BrokerThread
from tidewire.wire.framing import Decoder
from tidewire.wire.packets import Connack, Connect, Pingreq, Pingresp


def make(path: Path, *clients: str) -> CertificateDirectory:
    place = CertificateDirectory(path)
    place.make(["localhost"], clients, 2, "ec", datetime.now(UTC))
    return place


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> CertificateDirectory:
    place = make(tmp_path_factory.mktemp("tls") / "certs", "sensor", "stolen")
    place.revoke("stolen", datetime.now(UTC))
    return place


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> CertificateDirectory:
    return make(tmp_path_factory.mktemp("others") / "certs", "sensor")


def settings(place: CertificateDirectory, **more: Any) -> dict[str, Any]:
    return {"certificate": str(place.file("server")), "key": str(place.key_file("server")), **more}


def clients_too(place: CertificateDirectory, **more: Any) -> dict[str, Any]:
    return settings(
        place,
        client_ca=str(place.file("ca")),
        client_certificate="required",
        revocation_list=str(place.file("crl")),
        **more,
    )


@contextlib.contextmanager
def serving(tls: dict[str, Any], **more: Any) -> Iterator[BrokerThread]:
    listener = {"bind": ["127.0.0.1"], "port": 0, "tls": tls, **more}
    with BrokerThread({"bind": [], "listener": [listener]}) as broker:
        yield broker


def open_tls(broker: BrokerThread, context: ssl.SSLContext, host: str = "localhost") -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", broker.port), PATIENCE_S)
    return context.wrap_socket(plain, server_hostname=host)


def connect(client: ssl.SSLSocket, name: str) -> None:
    client.sendall(Connect(name).encode(4))
    assert Decoder(4, 100).feed(client.recv(100)) == [Connack()]


def pings(client: ssl.SSLSocket) -> bool:
    client.sendall(Pingreq().encode(4))
    return client.recv(2) == Pingresp().encode(4)


# Versions, protocols, names


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken_with_alpn_and_forward_secrecy(
    certificates: CertificateDirectory, version: ssl.TLSVersion
) -> None:
    context = client_context(certificates)
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "mqtt"])
    with serving(settings(certificates)) as broker, open_tls(broker, context) as client:
        connect(client, "versions")
        assert client.selected_alpn_protocol() == "mqtt"
        cipher = client.cipher()
        assert cipher is not None and ("ECDHE" in cipher[0] or cipher[0].startswith("TLS_"))


def test_older_versions_and_weak_ciphers_are_refused(certificates: CertificateDirectory) -> None:
    old = client_context(certificates)
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    weak = client_context(certificates)
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers("ECDHE+AES+SHA384:!AESGCM")
    with serving(settings(certificates, minimum_version="1.3")) as broker, pytest.raises(ssl.SSLError):
        open_tls(broker, old)
    with serving(settings(certificates)) as broker, pytest.raises(ssl.SSLError):
        open_tls(broker, weak)


def test_websocket_clients_ask_for_http_by_alpn(certificates: CertificateDirectory) -> None:
    context = client_context(certificates)
    context.set_alpn_protocols(["http/1.1"])
    with serving(settings(certificates), protocol="websocket") as broker, open_tls(broker, context) as client:
        assert broker.url.startswith("wss://127.0.0.1:")
        assert client.selected_alpn_protocol() == "http/1.1"


def test_the_server_name_chooses_the_certificate(
    certificates: CertificateDirectory, others: CertificateDirectory
) -> None:
    names = [
        {"name": "Other.example", "certificate": str(others.file("server")), "key": str(others.key_file("server"))}
    ]
    shown = {}
    with serving(settings(certificates, names=names)) as broker:
        for host in ("localhost", "other.example", "unknown.example"):
            context = client_context(certificates)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with open_tls(broker, context, host) as client:
                shown[host] = client.getpeercert(True)
    first = ssl.PEM_cert_to_DER_cert(certificates.file("server").read_text())
    second = ssl.PEM_cert_to_DER_cert(others.file("server").read_text())
    assert shown == {"localhost": first, "other.example": second, "unknown.example": first}


# Clients' certificates


def refused(broker: BrokerThread, context: ssl.SSLContext) -> bool:
    try:
        with open_tls(broker, context) as client:
            client.sendall(Connect("refused").encode(4))
            return not client.recv(100)  # in TLS 1.3 the refusal comes after the client's handshake
    except (ssl.SSLError, ConnectionError):
        return True


def test_a_required_certificate_must_be_signed_by_the_authority_and_not_taken_back(
    certificates: CertificateDirectory, others: CertificateDirectory
) -> None:
    stranger = client_context(certificates)
    stranger.load_cert_chain(others.file("sensor"), others.key_file("sensor"))
    with serving(clients_too(certificates)) as broker:
        assert refused(broker, client_context(certificates))
        assert refused(broker, client_context(certificates, "stolen"))
        assert refused(broker, stranger)
        with open_tls(broker, client_context(certificates, "sensor")) as client:
            connect(client, "accepted")


def test_an_optional_one_may_be_left_out(certificates: CertificateDirectory) -> None:
    tls = settings(certificates, client_ca=str(certificates.file("ca")), client_certificate="optional")
    with serving(tls) as broker:
        with open_tls(broker, client_context(certificates)) as client:
            connect(client, "without")
            assert broker._call(lambda: certificate_of(broker, "without")) is None
        with open_tls(broker, client_context(certificates, "sensor")) as client:
            connect(client, "with")


def certificate_of(broker: BrokerThread, client: str) -> Any:
    connection = broker._broker.server.broker.sessions[client].connection
    assert connection is not None
    return connection.certificate


@pytest.mark.parametrize("protocol", ["mqtt", "websocket"])
def test_the_engine_knows_the_name_in_the_certificate(certificates: CertificateDirectory, protocol: str) -> None:
    tls = clients_too(certificates, identity="common_name")
    with serving(tls, protocol=protocol) as broker, open_tls(broker, client_context(certificates, "sensor")) as client:
        connecting = Connect("named").encode(4)
        if protocol == "websocket":
            lines = ["GET /mqtt HTTP/1.1", *(f"{name}: {value}" for name, value in HEADERS.items()), "", ""]
            connecting = "\r\n".join(lines).encode() + frame(connecting)
        client.sendall(connecting)
        broker.wait_until(lambda: "named" in broker.clients)
        known = broker._call(lambda: certificate_of(broker, "named"))
    der = ssl.PEM_cert_to_DER_cert(certificates.file("sensor").read_text())
    assert (known.common_name, known.identity) == ("sensor", "sensor")
    assert known.fingerprint == read_certificate({}, der, "none").fingerprint
    assert len(known.fingerprint) == 64


def test_the_identity_is_the_name_that_was_asked_for() -> None:
    told = {
        "subject": ((("organizationName", "o"),), (("commonName", "c"),)),
        "subjectAltName": (("DNS", "d"), ("email", "e")),
    }
    identities = [read_certificate(told, b"", identity).identity for identity in ("none", "common_name")]
    assert identities == ["", "c"]
    known = read_certificate(told, b"", "subject_alternative_name")
    assert (known.identity, known.subject_alternative_names) == ("d", ("d", "e"))
    assert read_certificate({}, b"", "subject_alternative_name").identity == ""


# New files


def copied(place: CertificateDirectory, to: Path) -> CertificateDirectory:
    shutil.copytree(place.path, to)
    return CertificateDirectory(to)


def let_it_look(broker: BrokerThread) -> None:
    """Time passes: the files are looked at, and what changed is loaded."""
    for _ in range(3):
        broker.clock.advance(WATCH_S)


def test_a_thousand_connections_live_on_when_the_certificate_is_swapped(
    certificates: CertificateDirectory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tidewire")
    place = copied(certificates, tmp_path / "certs")
    context = client_context(place)
    before = ssl.PEM_cert_to_DER_cert(place.file("server").read_text())
    with serving(settings(place)) as broker, contextlib.ExitStack() as stack:
        live = [stack.enter_context(open_tls(broker, context)) for _ in range(1000)]
        for number, client in enumerate(live):
            connect(client, f"live-{number}")
        place.make([], (), 2, "ec", datetime.now(UTC), replace=True)
        after = ssl.PEM_cert_to_DER_cert(place.file("server").read_text())
        assert after != before
        let_it_look(broker)
        broker_loaded(broker)
        with open_tls(broker, context) as new:
            assert new.getpeercert(True) == after
            connect(new, "new")
        assert live[0].getpeercert(True) == before
        assert all(pings(client) for client in live)
        assert len(broker.clients) >= 1000
    assert "certificates reloaded" in caplog.text


def broker_loaded(broker: BrokerThread) -> None:
    """Wait until a load that is under way has ended."""
    tls = broker._broker.server.endpoints[1].tls
    assert tls is not None

    async def ended() -> None:
        if tls._loading is not None:
            await tls._loading

    broker._finish(ended())


def test_a_broken_file_is_refused_with_a_line_and_the_old_certificate_stays(
    certificates: CertificateDirectory, others: CertificateDirectory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = copied(certificates, tmp_path / "certs")
    before = ssl.PEM_cert_to_DER_cert(place.file("server").read_text())
    with serving(settings(place)) as broker:
        for make_worse in (
            lambda: place.file("server").write_text("nonsense"),
            lambda: shutil.copy(others.file("server"), place.file("server")),
            lambda: os.unlink(place.file("server")),
        ):
            caplog.clear()
            make_worse()
            let_it_look(broker)
            broker_loaded(broker)
            assert caplog.text.count("certificates kept") == 1
            assert str(place.file("server")) in caplog.text
            with open_tls(broker, client_context(certificates)) as client:
                assert client.getpeercert(True) == before


def test_a_certificate_that_was_taken_back_is_refused_from_then_on(
    certificates: CertificateDirectory, tmp_path: Path
) -> None:
    place = copied(certificates, tmp_path / "certs")
    context = client_context(place, "sensor")
    with serving(clients_too(place)) as broker:
        with open_tls(broker, context) as client:
            connect(client, "trusted")
            session = client.session
        place.revoke("sensor", datetime.now(UTC))
        let_it_look(broker)
        broker_loaded(broker)
        assert refused(broker, context)
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):  # nor by what it remembers of before
            plain = socket.create_connection(("127.0.0.1", broker.port), PATIENCE_S)
            with context.wrap_socket(plain, server_hostname="localhost", session=session) as client:
                connect(client, "resumed")


def test_files_that_are_being_written_are_left_until_they_stand_still(
    certificates: CertificateDirectory, tmp_path: Path
) -> None:
    async def watch() -> None:
        tls = Tls(TlsConfig(**settings(place)), "mqtt", "test")
        first = tls.context
        for number in range(3):
            place.file("server").write_text("x" * number)
            tls.watch(number * WATCH_S)
            assert tls._loading is None
        shutil.copy(certificates.file("server"), place.file("server"))
        tls.watch(3 * WATCH_S)
        assert tls._loading is None
        tls.watch(4 * WATCH_S)
        assert tls._loading is not None
        await tls._loading
        assert tls.context is not first

    place = copied(certificates, tmp_path / "certs")
    asyncio.run(watch())


# What can be wrong


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"certificate": "/nowhere/server.pem"}, "cannot read /nowhere/server.pem: No such file"),
        ({"key": "OTHER"}, "does not belong to the certificate"),
        ({"certificate": "KEY"}, "hold no certificate and key in PEM"),
        ({"ciphers": "NONSENSE"}, "OpenSSL knows no cipher in 'NONSENSE'"),
        ({"client_certificate": "required"}, "needs client_ca"),
        ({"identity": "common_name"}, 'needs client_certificate = "optional" or "required"'),
        ({"client_certificate": "required", "client_ca": "KEY"}, "listener.tls.client_ca: "),
        ({"client_certificate": "required", "client_ca": "CA", "revocation_list": "CA"}, "holds no revocation list"),
    ],
)
def test_what_is_wrong_with_the_files_is_said_in_one_line(
    certificates: CertificateDirectory, others: CertificateDirectory, change: dict[str, str], told: str
) -> None:
    files = {
        "OTHER": str(others.key_file("server")),
        "KEY": str(certificates.key_file("server")),
        "CA": str(certificates.file("ca")),
    }
    config = TlsConfig(**settings(certificates) | {key: files.get(value, value) for key, value in change.items()})
    with pytest.raises(ConfigError, match=r"listener\.tls") as raised:
        make_context(config, "mqtt")
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_key_with_a_password_is_not_waited_for(certificates: CertificateDirectory, tmp_path: Path) -> None:
    locked = tmp_path / "locked.key"
    done = openssl("ec", "-in", certificates.key_file("server"), "-aes128", "-passout", "pass:secret", "-out", locked)
    assert done.returncode == 0, done.stderr
    with pytest.raises(ConfigError, match="has a password"):
        make_context(TlsConfig(str(certificates.file("server")), str(locked)), "mqtt")


def test_the_certificate_of_another_name_is_checked_too(certificates: CertificateDirectory) -> None:
    named = NamedCertificate("a.example", "/nowhere/a.pem", "/nowhere/a.key")
    with pytest.raises(ConfigError, match=r"cannot read /nowhere/a\.pem"):
        make_context(TlsConfig(**settings(certificates), names=[named]), "mqtt")


# Keys that both sides know


def test_pre_shared_keys_are_read_by_identity(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# gateway\ngate:way:0a0B\n\nsensor:ff\n")
    assert read_pre_shared_keys(str(file)) == {"gate:way": b"\x0a\x0b", "sensor": b"\xff"}
    for wrong in ("sensor", "sensor:", ":ff", "sensor:xyz"):
        file.write_text(f"\n{wrong}\n")
        with pytest.raises(ConfigError, match="line 2: write identity:key"):
            read_pre_shared_keys(str(file))


HAS_PSK = hasattr(ssl.SSLContext, "set_psk_server_callback")


@pytest.mark.skipif(HAS_PSK, reason="this Python has pre-shared keys")
def test_pre_shared_keys_need_a_newer_python(certificates: CertificateDirectory, tmp_path: Path) -> None:
    config = TlsConfig(**settings(certificates), pre_shared_keys=str(tmp_path / "keys"))
    with pytest.raises(ConfigError, match=r"needs Python 3\.13 or newer"):
        make_context(config, "mqtt")


@pytest.mark.skipif(not HAS_PSK, reason="pre-shared keys need Python 3.13")
def test_a_client_with_a_pre_shared_key_needs_no_certificate(
    certificates: CertificateDirectory, tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text("sensor:0102030405060708\n")
    with serving(settings(certificates, pre_shared_keys=str(tmp_path / "keys"))) as broker:
        for key, works in ((bytes(range(1, 9)), True), (b"wrong", False)):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers("PSK")
            context.set_psk_client_callback(lambda _, key=key: ("sensor", key))  # type: ignore[attr-defined]
            if works:
                with open_tls(broker, context) as client:
                    connect(client, "sensor")
            else:
                with pytest.raises(ssl.SSLError):
                    open_tls(broker, context)
