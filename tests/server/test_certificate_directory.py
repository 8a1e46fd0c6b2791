"""Do the files work with everybody's TLS at once, stay as they are unless asked, and grow later?"""

from __future__ import annotations

import os
import re
import shutil
import ssl
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.process import PATIENCE_S
from tests.server.handshake import client_context, handshake, server_context
from tests.server.openssl import openssl
from tidewire.server.certificate_directory import CertificateDirectory
from tidewire.server.certificate_reading import alternative_names, read_certificates, read_revocation_list
from tidewire.server.certificates import KEY_TYPES, CertificateError, KeyType

NOW = datetime.now(UTC)
HOSTS = ["broker.example", "*.plant.example", "192.0.2.1", "2001:db8::1"]


@pytest.fixture(scope="module", params=KEY_TYPES)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CertificateDirectory:
    """Certificates with each kind of key, that tests only read."""
    key_type: KeyType = request.param
    made = CertificateDirectory(tmp_path_factory.mktemp(key_type) / "certificates")
    assert list(made.make(HOSTS, ["alice", "mallory"], 90, key_type, NOW)) == ["ca", "server", "alice", "mallory"]
    assert made.revoke("mallory", NOW) == 1
    return made


@pytest.fixture
def fresh(tmp_path: Path) -> CertificateDirectory:
    """A directory with an authority, a server and alice."""
    made = CertificateDirectory(tmp_path / "certificates")
    made.make((), ["alice"], 90, "ec", NOW)
    return made


def contents(place: CertificateDirectory) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in place.path.rglob("*") if path.is_file()}


def test_openssl_verifies_them_as_strictly_as_it_can(place: CertificateDirectory) -> None:
    strict = ["verify", "-x509_strict", "-check_ss_sig", "-policy_check", "-CAfile", place.file("ca")]
    for purpose, name, flags in (
        ("sslserver", "server", ["-verify_hostname", "broker.example"]),
        ("sslserver", "server", ["-verify_hostname", "a.plant.example"]),
        ("sslserver", "server", ["-verify_ip", "192.0.2.1"]),
        ("sslserver", "server", ["-verify_ip", "2001:db8::1"]),
        ("sslclient", "alice", ["-crl_check", "-CRLfile", place.file("crl")]),
    ):
        run = openssl(*strict, "-purpose", purpose, *flags, place.file(name))
        assert run.stdout == f"{place.file(name)}: OK\n", run.stderr


def test_openssl_refuses_them_for_what_they_are_not_made_for(place: CertificateDirectory) -> None:
    strict = ["verify", "-x509_strict", "-CAfile", place.file("ca")]
    for flags, name, reason in (
        (["-purpose", "sslclient"], "server", "unsuitable certificate purpose"),
        (["-purpose", "sslserver"], "alice", "unsuitable certificate purpose"),
        (["-verify_hostname", "elsewhere.example"], "server", "hostname mismatch"),
        (["-crl_check", "-CRLfile", place.file("crl")], "mallory", "certificate revoked"),
    ):
        run = openssl(*strict, *flags, place.file(name))
        assert run.returncode != 0
        assert reason in run.stderr


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", *HOSTS[2:], "broker.example", "a.plant.example"])
def test_a_client_with_a_certificate_and_a_server_know_each_other(place: CertificateDirectory, host: str) -> None:
    seen = handshake(server_context(place, clients_too=True), client_context(place, "alice"), host)
    assert seen is not None
    assert seen["subject"] == ((("commonName", "alice"),),)


def test_a_client_refuses_a_server_by_another_name(place: CertificateDirectory) -> None:
    for host in ("elsewhere.example", "plant.example", "127.0.0.2"):
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
            handshake(server_context(place), client_context(place), host)


def test_a_server_refuses_who_has_no_certificate_or_one_that_was_taken_back(place: CertificateDirectory) -> None:
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        handshake(server_context(place, clients_too=True), client_context(place), "localhost")
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate revoked"):
        handshake(server_context(place, clients_too=True), client_context(place, "mallory"), "localhost")


def test_a_client_refuses_a_server_of_another_authority(
    place: CertificateDirectory, fresh: CertificateDirectory
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        handshake(server_context(place), client_context(fresh), "localhost")


def test_go_takes_them(place: CertificateDirectory) -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed")
    source = Path(__file__).parent / "certificates_in_go" / "main.go"
    names = ["localhost", "127.0.0.1", "a.plant.example", "2001:db8::1"]
    run = subprocess.run(
        [go, "run", source, place.path, "alice", *names],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "GO111MODULE": "off", "GOTOOLCHAIN": "local"},
        check=False,
    )
    assert run.stdout.split() == names, run.stderr


@pytest.mark.skipif(os.name != "posix", reason="rights of files are of POSIX")
def test_private_keys_are_for_their_owner_alone(place: CertificateDirectory) -> None:
    keys = list(place.path.rglob("*.key"))
    assert {path.name for path in keys} == {"ca.key", "server.key", "alice.key", "mallory.key"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    assert not [path for path in place.path.rglob("*") if path.is_file() and path.suffix not in (".pem", ".key")]


def test_without_hosts_the_server_is_called_as_its_machine_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Plant7")
    made = CertificateDirectory(tmp_path).make((), (), 90, "ec", NOW)
    assert alternative_names(made["server"]) == ["localhost", "127.0.0.1", "::1", "plant7"]


def test_a_machine_whose_name_no_certificate_can_have_is_called_localhost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "plant 7")
    made = CertificateDirectory(tmp_path).make((), (), 90, "ec", NOW)
    assert alternative_names(made["server"]) == ["localhost", "127.0.0.1", "::1"]


def test_another_client_is_added_to_the_authority_that_is_there(fresh: CertificateDirectory) -> None:
    before = contents(fresh)
    assert list(fresh.make((), ["bob"], 90, "rsa", NOW)) == ["bob"]
    after = contents(fresh)
    assert {name: after[name] for name in before} == before
    assert handshake(server_context(fresh, clients_too=True), client_context(fresh, "bob"), "localhost")


@pytest.mark.parametrize(
    ("hosts", "clients", "name"), [(["a.example"], [], "server.pem"), ([], ["bob", "alice"], "alice.pem")]
)
def test_what_is_there_is_not_replaced_and_nothing_else_is_made(
    fresh: CertificateDirectory, hosts: list[str], clients: list[str], name: str
) -> None:
    before = contents(fresh)
    with pytest.raises(CertificateError, match=re.escape(f"{name} exists already; --force replaces it")):
        fresh.make(hosts, clients, 90, "ec", NOW)
    assert contents(fresh) == before


@pytest.mark.parametrize(
    ("hosts", "clients"),
    [(["bad host"], []), ([], ["ca"]), ([], ["SERVER"]), ([], ["../alice"]), ([], [""]), ([], ["a."]), ([], [".a"]),
     ([], ["ü" * 33])],
)  # fmt: skip
def test_what_cannot_be_made_leaves_no_half_made_authority(
    tmp_path: Path, hosts: list[str], clients: list[str]
) -> None:
    place = CertificateDirectory(tmp_path / "certificates")
    with pytest.raises(CertificateError):
        place.make(hosts, clients, 90, "ec", NOW)
    assert not place.path.exists()


def test_without_anything_to_make_nothing_is_made(fresh: CertificateDirectory) -> None:
    before = contents(fresh)
    assert fresh.make((), (), 90, "ec", NOW) == {}
    assert contents(fresh) == before


def test_the_server_is_renewed_for_the_same_names_and_old_clients_trust_it(tmp_path: Path) -> None:
    place = CertificateDirectory(tmp_path)
    place.make(["broker.example"], ["alice"], 90, "ec", NOW)
    before, client = contents(place), client_context(place, "alice")
    assert list(place.make((), (), 300, "ec", NOW, replace=True)) == ["server"]
    renewed = read_certificates(place.file("server"))[0]
    assert alternative_names(renewed) == ["broker.example", "localhost", "127.0.0.1", "::1"]
    assert renewed.not_valid_after_utc > NOW + timedelta(days=299)
    assert handshake(server_context(place, clients_too=True), client, "broker.example")
    after = contents(place)
    assert {name for name in before if after[name] != before[name]} == {"server.pem", "server.key"}


def test_renewing_a_client_leaves_the_server_alone(fresh: CertificateDirectory) -> None:
    before = contents(fresh)
    assert list(fresh.make((), ["alice"], 90, "ec", NOW, replace=True)) == ["alice"]
    after = contents(fresh)
    assert {name for name in before if after[name] != before[name]} == {"alice.pem", "alice.key"}


def test_a_revoked_client_gets_in_again_with_a_new_certificate_only(fresh: CertificateDirectory) -> None:
    stolen = client_context(fresh, "alice")
    assert fresh.revoke("alice", NOW) == 1
    fresh.make((), ["alice"], 90, "ec", NOW, replace=True)
    assert handshake(server_context(fresh, clients_too=True), client_context(fresh, "alice"), "localhost")
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate revoked"):
        handshake(server_context(fresh, clients_too=True), stolen, "localhost")


def test_every_certificate_that_a_client_ever_had_is_revoked(fresh: CertificateDirectory) -> None:
    fresh.make((), ["alice"], 90, "ec", NOW, replace=True)
    assert fresh.revoke("alice", NOW) == 2
    assert fresh.revoke("alice", NOW) == 0
    assert len(read_revocation_list(fresh.file("crl"))) == 2


def test_a_client_that_nobody_knows_is_answered_with_the_nearest(fresh: CertificateDirectory) -> None:
    before = contents(fresh)
    with pytest.raises(CertificateError, match="is for 'alise'; did you mean alice"):
        fresh.revoke("alise", NOW)
    with pytest.raises(CertificateError, match="see which are: tidewire certs show"):
        fresh.revoke("zorro", NOW)
    assert contents(fresh) == before


def test_an_authority_of_somebody_elses_is_used(tmp_path: Path) -> None:
    openssl(
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/O=Plant/CN=Plant authority",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", tmp_path / "ca.key", "-out", tmp_path / "ca.pem",
    )  # fmt: skip
    place = CertificateDirectory(tmp_path)
    assert list(place.make(["broker.example"], ["alice"], 90, "ec", NOW)) == ["server", "alice"]
    assert handshake(server_context(place, clients_too=True), client_context(place, "alice"), "localhost")
    place.revoke("alice", NOW)
    run = openssl("verify", "-x509_strict", "-CAfile", place.file("ca"), place.file("server"))
    assert run.stdout.endswith(": OK\n"), run.stderr
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate revoked"):
        handshake(server_context(place, clients_too=True), client_context(place, "alice"), "localhost")


def test_an_authority_without_its_key_or_with_another_one_is_said_to_be_so(
    fresh: CertificateDirectory, tmp_path: Path
) -> None:
    shutil.copy(fresh.key_file("server"), fresh.key_file("ca"))
    with pytest.raises(CertificateError, match=r"ca\.key is not the key of .*ca\.pem"):
        fresh.make((), ["bob"], 90, "ec", NOW)
    fresh.key_file("ca").unlink()
    with pytest.raises(CertificateError, match=r"cannot read .*ca\.key: No such file"):
        fresh.make((), ["bob"], 90, "ec", NOW)
    shutil.copy(fresh.file("server"), fresh.file("ca"))
    shutil.copy(fresh.key_file("server"), fresh.key_file("ca"))
    with pytest.raises(CertificateError, match=r"ca\.pem is no authority"):
        fresh.make((), ["bob"], 90, "ec", NOW)


def test_what_a_run_that_was_cut_off_left_behind_is_in_nobodys_way(fresh: CertificateDirectory) -> None:
    left = fresh.key_file("bob").with_name("bob.key.new")
    left.write_text("half a key")
    left.chmod(0o666)
    fresh.make((), ["bob"], 90, "ec", NOW)
    assert not left.exists()
    assert stat.S_IMODE(fresh.key_file("bob").stat().st_mode) == 0o600
