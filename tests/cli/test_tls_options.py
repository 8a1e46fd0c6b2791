"""Do the TLS flags make the connection that they describe, and is a file that is none named?"""

from __future__ import annotations

import contextlib
import ssl
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from tests.cli.server import DeafServer
from tests.client.certificates import Certificates, make_certificates
from tests.process import tidewire
from tidewire.cli.tls_options import TLSOptions, tls_context
from tidewire.wire.packets import Connack

NOTHING: dict[str, Any] = {
    "cafile": None,
    "capath": None,
    "cert": None,
    "key": None,
    "ciphers": None,
    "insecure": False,
    "tls_alpn": None,
    "tls_version": None,
    "tls_use_os_certs": False,
    "psk": None,
    "psk_identity": None,
    "tls_keylog": None,
    "no_tls": False,
}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def options(**given: Any) -> TLSOptions:
    return TLSOptions(**{**NOTHING, **{name: str(v) if isinstance(v, Path) else v for name, v in given.items()}})


def refusal(**given: Any) -> str:
    with pytest.raises(click.UsageError) as raised:
        tls_context(options(**given))
    return raised.value.format_message()


def test_an_authority_is_trusted_and_the_name_checked(certificates: Certificates) -> None:
    with DeafServer(Connack(), context=certificates.server_context()) as server:
        flags = ["-h", "localhost", "-p", server.port, "--cafile", certificates.authority]
        assert tidewire("pub", *flags, "-t", "a", "-m", "x").returncode == 0


def test_insecure_trusts_any_name_but_not_any_authority(certificates: Certificates) -> None:
    with DeafServer(Connack(), context=certificates.server_context(), connections=2) as server:
        flags = ["-h", "127.0.0.1", "-p", server.port, "--insecure", "-t", "a", "-m", "x"]
        assert tidewire("pub", *flags, "--cafile", certificates.authority).returncode == 0
        assert tidewire("pub", *flags, "--tls-use-os-certs").returncode == 8


def test_a_client_certificate_is_shown(certificates: Certificates) -> None:
    context = tls_context(options(cafile=certificates.authority, cert=certificates.chain, key=certificates.key))
    demanding = certificates.server_context()
    demanding.load_verify_locations(certificates.authority)
    demanding.verify_mode = ssl.CERT_REQUIRED
    server_in, server_out, client_in, client_out = (ssl.MemoryBIO() for _ in range(4))
    client = context.wrap_bio(client_in, client_out, server_hostname="localhost")
    server = demanding.wrap_bio(server_in, server_out, server_side=True)
    for _ in range(3):
        for side, source, target in ((client, client_out, server_in), (server, server_out, client_in)):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
            target.write(source.read())
    peer = server.getpeercert()
    assert peer is not None
    assert peer["subjectAltName"] == (("DNS", "localhost"),)


def test_the_version_can_be_pinned_and_is_1_2_or_newer_otherwise(certificates: Certificates) -> None:
    free = tls_context(options(cafile=certificates.authority))
    assert free.minimum_version == ssl.TLSVersion.TLSv1_2
    pinned = tls_context(options(cafile=certificates.authority, tls_version="tlsv1.3"))
    assert (pinned.minimum_version, pinned.maximum_version) == (ssl.TLSVersion.TLSv1_3,) * 2


def test_ciphers_are_narrowed() -> None:
    context = tls_context(options(ciphers="ECDHE-RSA-AES256-GCM-SHA384", tls_version="tlsv1.2"))
    assert "ECDHE-RSA-AES256-GCM-SHA384" in {cipher["name"] for cipher in context.get_ciphers()}
    assert "ECDHE-RSA-AES128-GCM-SHA256" not in {cipher["name"] for cipher in context.get_ciphers()}
    assert refusal(ciphers="no-such-cipher") == "--ciphers: OpenSSL knows none of 'no-such-cipher'"


def test_the_keys_of_a_connection_are_written_for_who_asks(certificates: Certificates, tmp_path: Path) -> None:
    with DeafServer(Connack(), context=certificates.server_context()) as server:
        flags = ["-h", "localhost", "-p", server.port, "--cafile", certificates.authority]
        assert tidewire("pub", *flags, "-t", "a", "-m", "x", "--tls-keylog", tmp_path / "keys").returncode == 0
    assert "CLIENT_TRAFFIC_SECRET" in (tmp_path / "keys").read_text()
    assert refusal(tls_keylog=tmp_path) == f"cannot write {tmp_path}: Is a directory"


def test_what_is_no_file_is_named(certificates: Certificates, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere.pem"
    assert refusal(cafile=nowhere) == f"cannot use {nowhere}: No such file or directory"
    assert refusal(cafile=certificates.key).startswith(f"cannot use {certificates.key}: not a PEM file")
    assert refusal(cert=nowhere, key=nowhere) == f"cannot use {nowhere} with {nowhere}: No such file or directory"
    assert "do not belong together" in refusal(cert=certificates.authority, key=certificates.key)


@pytest.mark.parametrize("given", [{"cert": "a"}, {"key": "a"}])
def test_certificate_and_key_go_together(given: dict[str, Any]) -> None:
    assert refusal(**given) == "--cert and --key go together: give both, or neither"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"psk": "00"}, "--psk needs --psk-identity"),
        ({"psk": "xy", "psk_identity": "a"}, "--psk takes hexadecimal digits"),
        ({"psk": "00", "psk_identity": "a", "cafile": "x"}, "--psk cannot be used with --cafile or --capath"),
    ],
)
def test_a_shared_key_needs_an_identity_and_no_certificates(given: dict[str, Any], said: str) -> None:
    assert refusal(**given).startswith(said)


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="this Python has shared keys")
def test_an_older_python_has_no_shared_keys() -> None:
    assert refusal(psk="00", psk_identity="a") == "--psk needs Python 3.13 or newer"


@pytest.mark.skipif(sys.version_info < (3, 13), reason="shared keys came with Python 3.13")
def test_a_shared_key_opens_the_connection() -> None:
    server: Any = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    server.set_ciphers("PSK")
    server.set_psk_server_callback(lambda identity: b"\x01\x02" if identity == "alice" else b"")
    with DeafServer(Connack(), context=server) as one:
        flags = ["-h", "127.0.0.1", "-p", one.port, "--psk", "0102", "--psk-identity", "alice"]
        assert tidewire("pub", *flags, "-t", "a", "-m", "x").returncode == 0
